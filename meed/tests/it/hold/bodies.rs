//! Bodies that are sent slowly, or are too large

use std::time::Duration;

use futures_util::future::join_all;
use meed_host::auth::Role;
use rstest_reuse::apply;
use tokio::io::AsyncWriteExt as _;

use super::target::{Target, client, rest};
use crate::support::{TestApp, on_both_engines};

const PATIENCE: Duration = Duration::from_secs(30);
const STRANGER: &str = "127.0.0.2";

/// A request of whose body only the first byte arrives.
fn beginning(path: &str, token: &str, length: usize) -> Vec<u8> {
    let authorization = if token.is_empty() {
        String::new()
    } else {
        format!("Authorization: Bearer {token}\r\n")
    };
    format!(
        "POST {path} HTTP/1.1\r\nHost: meed\r\nContent-Type: application/json\r\n{authorization}Content-Length: {length}\r\n\r\n{{"
    )
    .into_bytes()
}

#[apply(on_both_engines)]
async fn slow_bodies_take_no_capacity(app: TestApp) {
    let settings = [
        ("MEED__HTTP__CLIENT_TIMEOUT_SECONDS", "3"),
        ("MEED__HTTP__MAX_IN_FLIGHT", "8"),
        ("MEED__HTTP__MAX_CONNECTIONS_PER_ADDRESS", "1000"),
    ];
    let target = Target::start(app, &settings).await;
    let token = target.fixtures.token(Role::User).await;
    for (path, token) in [("/reward-requests", token.as_str()), ("/auth/refresh", "")] {
        let request = beginning(path, token, 100);
        let attack = async {
            let held = join_all((0..560).map(|_| target.send(STRANGER, &request))).await;
            let ends = held
                .into_iter()
                .map(|mut stream| async move { rest(&mut stream, PATIENCE).await });
            join_all(ends).await
        };
        for end in target.holds(attack).await {
            let end = end.expect("the server gave up");
            let answer = String::from_utf8_lossy(&end);
            assert!(
                answer.starts_with("HTTP/1.1 408 ") && answer.contains("body-timeout"),
                "{path}: {answer}"
            );
        }
    }
}

#[apply(on_both_engines)]
async fn one_address_cannot_fill_the_memory_with_bodies(app: TestApp) {
    let settings = [("MEED__HTTP__CLIENT_TIMEOUT_SECONDS", "4")];
    let target = Target::start(app, &settings).await;
    let megabyte = 1 << 20;
    let mut request = beginning("/auth/login", "", megabyte);
    request.extend(vec![b' '; megabyte - 1_000]);
    let attack = async {
        let held = join_all((0..100).map(|_| target.send(STRANGER, &request))).await;
        let ends = held
            .into_iter()
            .map(|mut stream| async move { rest(&mut stream, PATIENCE).await });
        join_all(ends).await
    };
    let ends = target.holds(attack).await;
    let refused = ends
        .iter()
        .flatten()
        .filter(|end| end.starts_with(b"HTTP/1.1 503 "))
        .count();
    // Eight megabytes are for this address.
    assert!(refused >= 90, "{refused} of {} were refused", ends.len());
}

#[apply(on_both_engines)]
async fn a_client_that_sends_too_much_gets_the_response(app: TestApp) {
    let target = Target::start(app, &[]).await;
    let operator = target.fixtures.operator().await;
    let megabytes = |count: usize| vec![b' '; count << 20];
    for (path, media, token, body, status, code) in [
        (
            "/auth/login",
            "application/json",
            "",
            megabytes(6),
            413,
            "body-too-large",
        ),
        (
            "/activities",
            "application/json",
            operator.as_str(),
            megabytes(6),
            413,
            "body-too-large",
        ),
        // These routes read the body themselves.
        ("/plugins", "application/wasm", "", megabytes(6), 401, "unauthenticated"),
        (
            "/plugins",
            "application/wasm",
            operator.as_str(),
            megabytes(14),
            413,
            "body-too-large",
        ),
    ] {
        let authorization = if token.is_empty() {
            String::new()
        } else {
            format!("Authorization: Bearer {token}\r\n")
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: meed\r\nContent-Type: {media}\r\n{authorization}Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = target.connect(STRANGER).await;
        // Everything is written before anything is read.
        stream.write_all(head.as_bytes()).await.expect("the head is sent");
        stream.write_all(&body).await.expect("the whole body is sent");
        let answer = rest(&mut stream, PATIENCE).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(code),
            "{path}: {answer}"
        );
    }
}

#[apply(on_both_engines)]
async fn a_compressed_body_is_refused_with_what_is_accepted(app: TestApp) {
    let target = Target::start(app, &[]).await;
    let call = client()
        .post(target.url("/auth/login"))
        .header("content-encoding", "gzip");
    let call = call.header("content-type", "application/json").body("\u{1f}");
    let answer = call.send().await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["accept-encoding"]),
        (415, &"identity".parse().unwrap())
    );
    assert!(answer.text().await.expect("a problem").contains("unsupported-encoding"));
}
