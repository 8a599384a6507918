//! More than the server can do at once

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Reply, TestApp, on_both_engines};

const BODY: &str = r#"{"email": "nobody@example.com", "password": "not the right one"}"#;

/// A request that occupies the server until its body is sent.
async fn begin_login(address: &str) -> TcpStream {
    let host = address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await.expect("the server listens");
    let head = format!(
        "POST /auth/login HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        BODY.len()
    );
    stream.write_all(head.as_bytes()).await.expect("the head is sent");
    stream
}

async fn finish_login(mut stream: TcpStream) -> String {
    stream.write_all(BODY.as_bytes()).await.expect("the body is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

async fn keys(app: &TestApp) -> Reply {
    app.get("/.well-known/jwks.json").send().await
}

on_both_engines! {
    async fn what_is_too_much_is_refused_at_once_and_the_rest_is_answered(app: TestApp) {
        let app = app.replica(&[("http.max_in_flight", "3")]);
        let address = app.listen().await;
        let mut running = Vec::new();
        for _ in 0..3 {
            running.push(begin_login(&address).await);
        }
        // Their heads are on the way.
        let full = async {
            while app.app.overload.in_flight() < 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), full).await.expect("the server is full");

        for _ in 0..5 {
            let refused = keys(&app).await;
            assert_eq!(refused.header("retry-after"), "1");
            let problem = refused.expect_problem(503, "overloaded");
            assert!(problem["detail"].to_string().contains("busy with 3 requests"), "{problem:#}");
        }
        // Refused before its body is read, which never comes.
        let mut early = begin_login(&address).await;
        let mut answer = String::new();
        early.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        // Who asks whether it lives is told so.
        for path in ["/livez", "/readyz"] {
            assert_eq!(app.get(path).send().await.status, 200, "{path}");
        }

        for stream in running {
            let answer = finish_login(stream).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        }
        for _ in 0..4 {
            keys(&app).await.expect(200);
        }
    }

    async fn a_lost_database_makes_the_server_unready(app: TestApp) {
        app.get("/readyz").send().await.expect(200);
        app.app.db.close().await;
        // What was found holds for a second.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        for _ in 0..2 {
            let reply = app.get("/readyz").send().await;
            assert_eq!(reply.header("retry-after"), "2");
            let problem = reply.expect_problem(503, "unavailable");
            assert_eq!(problem["detail"], json!("The database does not answer."));
        }
        assert_eq!(app.get("/livez").send().await.status, 200);
    }
}
