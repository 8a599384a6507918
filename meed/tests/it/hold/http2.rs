//! HTTP/2: streams, resets, heads and windows without measure

use std::time::Duration;

use futures_util::future::join_all;
use rstest_reuse::apply;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::target::{Target, rest};
use crate::support::{TestApp, on_both_engines};

const STRANGER: &str = "127.0.0.2";
const PATIENCE: Duration = Duration::from_secs(10);
const SETTINGS: [(&str, &str); 2] = [
    ("MEED__HTTP__HTTP2", "true"),
    ("MEED__HTTP__CLIENT_TIMEOUT_SECONDS", "2"),
];

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames, and flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTING: u8 = 4;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Error codes.
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface and the settings of a client.
fn begin(settings: &[(u16, u32)]) -> Vec<u8> {
    let settings: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
        .collect();
    [PREFACE, &frame(SETTING, 0, 0, &settings)].concat()
}

/// A field of a head, literal and not indexed (RFC 7541, 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")][..], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

fn head(method: &str, path: &str) -> Vec<u8> {
    [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "meed"),
    ]
    .iter()
    .flat_map(|(name, value)| field(name, value))
    .collect()
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", path))
}

/// The frames that the server sends until one satisfies `last`, or until it closes the connection.
async fn frames(stream: &mut TcpStream, last: impl Fn(u8, &[u8]) -> bool) -> Vec<(u8, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let read = async {
        loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                return;
            }
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            if stream.read_exact(&mut payload).await.is_err() {
                return;
            }
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let is_last = last(head[3], &payload);
            found.push((head[3], id, payload));
            if is_last {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.ok();
    found
}

/// The error code in the last four bytes of a reset, or in the middle of a farewell.
fn code(kind: u8, payload: &[u8]) -> u32 {
    let at = if kind == GO_AWAY { 4 } else { 0 };
    payload
        .get(at..at + 4)
        .map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().expect("four bytes")))
}

#[apply(on_both_engines)]
async fn without_the_setting_http2_is_not_spoken(app: TestApp) {
    let target = Target::start(app, &[]).await;
    let mut stream = target.send(STRANGER, &begin(&[])).await;
    let answer = rest(&mut stream, PATIENCE).await.expect("the server closes");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[apply(on_both_engines)]
async fn a_connection_has_a_bounded_number_of_streams(app: TestApp) {
    let target = Target::start(app, &SETTINGS).await;
    let attack = async {
        // Bodies that never end.
        let open = (0..80).map(|number| frame(HEADERS, END_HEADERS, 2 * number + 1, &head("POST", "/auth/login")));
        let bytes = [begin(&[]), open.flatten().collect()].concat();
        let mut stream = target.send(STRANGER, &bytes).await;
        frames(&mut stream, |kind, payload| {
            kind == RESET && code(kind, payload) == REFUSED_STREAM
        })
        .await
    };
    let found = target.holds(attack).await;
    let (_, _, settings) = found.iter().find(|(kind, ..)| *kind == SETTING).expect("settings");
    let streams = settings
        .chunks(6)
        .find(|setting| setting[..2] == [0, 3])
        .expect("a maximum of streams");
    assert_eq!(streams[2..], 64_u32.to_be_bytes());
    let refused = found
        .iter()
        .find(|(kind, ..)| *kind == RESET)
        .expect("a refused stream");
    assert!(refused.1 > 2 * 64, "{refused:?}");
}

#[apply(on_both_engines)]
async fn a_flood_of_resets_ends_the_connection(app: TestApp) {
    let target = Target::start(app, &SETTINGS).await;
    let attack = async {
        let flood = || async {
            let mut bytes = begin(&[]);
            for number in 0..5_000 {
                bytes.extend(get(2 * number + 1, "/.well-known/jwks.json"));
                bytes.extend(frame(RESET, 0, 2 * number + 1, &CANCEL.to_be_bytes()));
            }
            let mut stream = target.send(STRANGER, &bytes).await;
            frames(&mut stream, |kind, _| kind == GO_AWAY).await
        };
        join_all((0..20).map(|_| flood())).await
    };
    for found in target.holds(attack).await {
        // A reset of the connection may come before its reason.
        let farewell = found.iter().find(|(kind, ..)| *kind == GO_AWAY);
        assert!(
            farewell.is_none_or(|(kind, _, payload)| code(*kind, payload) == ENHANCE_YOUR_CALM),
            "{farewell:?}"
        );
        let answers = found.iter().filter(|(kind, ..)| *kind == HEADERS).count();
        assert!(answers < 5_000, "{answers} answers");
    }
}

#[apply(on_both_engines)]
async fn a_head_has_a_bounded_size(app: TestApp) {
    let target = Target::start(app, &SETTINGS).await;
    let attack = async {
        let endless = || async {
            let field = field("x-a", &"a".repeat(100)).repeat(100);
            let mut bytes = begin(&[]);
            bytes.extend(frame(HEADERS, END_STREAM, 1, &head("GET", "/livez")));
            for _ in 0..500 {
                bytes.extend(frame(CONTINUATION, 0, 1, &field));
            }
            let mut stream = target.send(STRANGER, &bytes).await;
            let found = frames(&mut stream, |kind, _| kind == GO_AWAY).await;
            let end = rest(&mut stream, PATIENCE).await;
            (found, end)
        };
        join_all((0..20).map(|_| endless())).await
    };
    for (found, end) in target.holds(attack).await {
        assert!(end.is_some(), "the connection is open after {PATIENCE:?}");
        assert!(found.iter().all(|(kind, ..)| *kind != DATA), "{found:?}");
    }
}

#[apply(on_both_engines)]
async fn a_client_that_takes_no_response_is_let_go(app: TestApp) {
    let target = Target::start(app, &SETTINGS).await;
    let attack = async {
        let hold = |window: u32| {
            let bytes: Vec<u8> = (0..64)
                .flat_map(|number| get(2 * number + 1, "/openapi.json"))
                .collect();
            // SETTINGS_INITIAL_WINDOW_SIZE
            let bytes = [begin(&[(4, window)]), bytes].concat();
            let target = &target;
            async move {
                let mut stream = target.send(STRANGER, &bytes).await;
                let began = std::time::Instant::now();
                let end = rest(&mut stream, PATIENCE).await;
                end.map(|_| began.elapsed())
            }
        };
        join_all((0..20).map(|number| hold(number % 2))).await
    };
    for end in target.holds(attack).await {
        assert!(end.is_some_and(|after| after > Duration::from_secs(1)), "{end:?}");
    }
}

#[apply(on_both_engines)]
async fn beginnings_of_http2_end_in_time(app: TestApp) {
    let target = Target::start(app, &SETTINGS).await;
    let attack = async {
        let beginnings: [&[u8]; 5] = [b"", b"P", b"PRI", &PREFACE[..23], b"GET /livez HTTP/1.1\r\nHost: me"];
        let held = (0..200).map(|number| target.send(STRANGER, beginnings[number % beginnings.len()]));
        let ends = join_all(held).await.into_iter();
        join_all(ends.map(|mut stream| async move { rest(&mut stream, PATIENCE).await })).await
    };
    for (number, end) in target.holds(attack).await.iter().enumerate() {
        assert!(end.is_some(), "beginning {} is open after {PATIENCE:?}", number % 5);
    }
}

/// The server pings, so that connections of clients that are gone end.
#[apply(on_both_engines)]
async fn a_client_that_does_not_answer_is_let_go(app: TestApp) {
    let target = Target::start(app, &SETTINGS).await;
    let attack = async {
        let held = join_all((0..200).map(|_| target.send(STRANGER, PREFACE))).await;
        let settled = (0..50).map(|_| target.send(STRANGER, &[]));
        drop(join_all(settled).await);
        let bytes = begin(&[]);
        let silent = join_all((0..50).map(|_| target.send(STRANGER, &bytes))).await;
        let all = held.into_iter().chain(silent);
        join_all(all.map(|mut stream| async move { rest(&mut stream, PATIENCE).await })).await
    };
    let ends = target.holds(attack).await;
    assert!(
        ends.iter().all(Option::is_some),
        "{} are open",
        ends.iter().filter(|end| end.is_none()).count()
    );
}
