//! Connections that send nothing, half a head, or never read

use std::time::Duration;

use futures_util::future::join_all;
use rstest_reuse::apply;

use super::target::{Target, allow_many_files, rest};
use crate::support::{TestApp, on_both_engines};

const PATIENCE: Duration = Duration::from_secs(30);
const HASTY: (&str, &str) = ("MEED__HTTP__CLIENT_TIMEOUT_SECONDS", "2");

const STRANGER: &str = "127.0.0.2";

/// Beginnings of a request that never end.
const BEGINNINGS: [&[u8]; 5] = [
    b"",
    b"P",
    b"PRI * HTTP/2.0\r\n\r",
    b"GET /livez HTTP/1.1\r\nHost: me",
    b"GET /livez HTTP/1.1\r\nHost: meed\r\nX-A: b\r\n",
];

#[apply(on_both_engines)]
async fn connections_that_never_send_a_request_end(app: TestApp) {
    let target = Target::start(app, &[HASTY]).await;
    let attack = async {
        let held = (0..300).map(|number| target.send(STRANGER, BEGINNINGS[number % BEGINNINGS.len()]));
        let held = join_all(held).await;
        let ends = held
            .into_iter()
            .map(|mut stream| async move { rest(&mut stream, PATIENCE).await });
        join_all(ends).await
    };
    for (number, end) in target.holds(attack).await.iter().enumerate() {
        let beginning = String::from_utf8_lossy(BEGINNINGS[number % BEGINNINGS.len()]);
        assert!(end.is_some(), "open after {PATIENCE:?}: {beginning:?}");
    }
}

#[apply(on_both_engines)]
async fn one_address_cannot_take_every_connection(app: TestApp) {
    allow_many_files();
    let target = Target::start(app, &[]).await;
    let attack = async {
        let mut held = Vec::new();
        for _ in 0..21 {
            held.extend(join_all((0..200).map(|_| target.send(STRANGER, b"P"))).await);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        held.len()
    };
    assert_eq!(target.holds(attack).await, 4_200);
}

#[apply(on_both_engines)]
async fn many_addresses_cannot_take_every_connection(app: TestApp) {
    allow_many_files();
    let target = Target::start(app, &[]).await;
    let attack = async {
        let mut held = Vec::new();
        for network in 0..21 {
            let addresses = (1..=200).map(|host| format!("127.1.{network}.{host}"));
            held.extend(join_all(addresses.map(async |address| target.send(&address, b"P").await)).await);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        held.len()
    };
    assert_eq!(target.holds(attack).await, 4_200);
}

#[apply(on_both_engines)]
async fn responses_that_nobody_reads_end(app: TestApp) {
    let target = Target::start(app, &[HASTY]).await;
    let requests = b"GET /openapi.json HTTP/1.1\r\nHost: meed\r\n\r\n".repeat(195);
    let attack = async {
        let held = join_all((0..60).map(|_| target.send(STRANGER, &requests))).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let ends = held
            .into_iter()
            .map(|mut stream| async move { rest(&mut stream, PATIENCE).await });
        join_all(ends).await
    };
    let document = 400 << 10;
    for end in target.holds(attack).await {
        let read = end.expect("the server gave up").len();
        assert!(
            read < 30 * document,
            "{read} bytes were sent to a client that did not read"
        );
    }
}

#[apply(on_both_engines)]
async fn http_2_is_not_spoken(app: TestApp) {
    let target = Target::start(app, &[]).await;
    // The preface and an empty SETTINGS frame.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let attack = async {
        let mut stream = target.send(STRANGER, preface).await;
        rest(&mut stream, PATIENCE).await
    };
    let end = target.holds(attack).await.expect("the server closes it");
    assert!(end.is_empty() || end.starts_with(b"HTTP/1.1 4"), "{end:?}");
}

#[apply(on_both_engines)]
async fn a_request_names_its_host_once(app: TestApp) {
    let target = Target::start(app, &[]).await;
    for (hosts, status) in [
        ("Host: a\r\n", "200"),
        ("", "400"),
        ("Host: a\r\nHost: a\r\n", "400"),
        ("Host: a\r\nX-A: b\r\nhost: b\r\n", "400"),
    ] {
        let request = format!("GET /livez HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        let mut stream = target.send(STRANGER, request.as_bytes()).await;
        let answer = rest(&mut stream, PATIENCE).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{hosts:?}: {answer}"
        );
        assert_eq!(answer.contains("invalid-host"), status == "400", "{answer}");
    }
}
