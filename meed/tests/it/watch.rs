//! Streams of server-sent events: `/reward-requests/stream`, `/events/{id}/progress/stream`

mod bounds;
mod fleet;
mod life;
mod progress;
mod requests;

use std::pin::Pin;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;

use crate::support::{Background, TestApp};

/// The maximum time for an event to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a stream is observed that must say nothing.
const QUIET: Duration = Duration::from_millis(1_500);

/// An event, as it was sent.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sent {
    id: Option<String>,
    event: Option<String>,
    data: Option<Value>,
    retry: Option<u64>,
    is_comment: bool,
}

/// A client of one stream.
struct Watcher {
    pieces: Pin<Box<dyn Stream<Item = Option<Bytes>> + Send>>,
    read: Vec<u8>,
    /// The id of the last event that it got.
    last: Option<String>,
}

impl Watcher {
    /// Opens a stream, which must be allowed. `last`: the id of the last event that the client has.
    async fn open(base: &str, path: &str, token: &str, last: Option<&str>) -> Self {
        let answer = ask(base, path, token, last).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        let pieces = answer.bytes_stream().map(Result::ok);
        let mut watcher = Self {
            pieces: pieces.boxed(),
            read: Vec::new(),
            last: last.map(str::to_owned),
        };
        let first = watcher.sent().await.expect("the beginning");
        assert_eq!((first.retry, first.data), (Some(2_000), None));
        watcher
    }

    /// The next event or comment; `None`: the stream has ended, in order or not.
    async fn sent(&mut self) -> Option<Sent> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.read.drain(..end + 2).collect();
                let sent = parse(&String::from_utf8(block).expect("text"));
                if sent.id.is_some() {
                    self.last.clone_from(&sent.id);
                }
                return Some(sent);
            }
            let piece = tokio::time::timeout(PATIENCE, self.pieces.next());
            let piece = piece.await.expect("the stream says something").flatten()?;
            self.read.extend_from_slice(&piece);
        }
    }

    /// The next event with data.
    async fn event(&mut self) -> Option<Sent> {
        loop {
            match self.sent().await {
                Some(sent) if sent.data.is_none() => {}
                sent => return sent,
            }
        }
    }

    /// The data of the next event, which has this name.
    async fn data(&mut self, name: &str) -> Value {
        let sent = self.event().await.expect("an event");
        assert_eq!(sent.event.as_deref(), Some(name), "{sent:?}");
        sent.data.expect("data")
    }

    /// Asserts that nothing more comes for a while.
    async fn is_quiet(&mut self) {
        if let Ok(sent) = tokio::time::timeout(QUIET, self.event()).await {
            panic!("unexpected: {sent:?}");
        }
    }

    /// Asserts that the stream ends.
    async fn ends(&mut self) {
        let sent = self.event().await;
        assert_eq!(sent, None);
    }
}

fn parse(block: &str) -> Sent {
    let mut sent = Sent::default();
    for line in block.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').expect("a field");
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" => sent.is_comment = true,
            "id" => sent.id = Some(value.to_owned()),
            "event" => sent.event = Some(value.to_owned()),
            "data" => sent.data = Some(serde_json::from_str(value).expect("JSON in one line")),
            "retry" => sent.retry = Some(value.parse().expect("milliseconds")),
            other => panic!("unknown field {other}"),
        }
    }
    sent
}

/// The response to a request for a stream.
async fn ask(base: &str, path: &str, token: &str, last: Option<&str>) -> reqwest::Response {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut request = client.get(format!("{base}{path}")).bearer_auth(token);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    request.send().await.expect("a response")
}

/// Asserts that a stream is refused with this status and code.
async fn refused(base: &str, path: &str, token: &str, last: Option<&str>, status: u16, code: &str) -> Value {
    let answer = ask(base, path, token, last).await;
    let found = answer.status().as_u16();
    let problem: Value = answer.json().await.expect("a problem");
    assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{problem:#}");
    problem
}

/// A server that listens, with the task that reads the outbox.
struct Serving {
    base: String,
    _reader: Background,
}

impl Serving {
    async fn start(app: &TestApp) -> Self {
        let watch = app.app.watch.clone();
        Self {
            base: app.listen().await,
            _reader: Background::start(&app.clock, move || watch.reader()),
        }
    }

    async fn requests(&self, token: &str) -> Watcher {
        Watcher::open(&self.base, REQUESTS, token, None).await
    }

    /// Continues after the last event that another client got.
    async fn resume(&self, token: &str, before: Watcher) -> Watcher {
        let last = before.last.expect("an id");
        Watcher::open(&self.base, REQUESTS, token, Some(&last)).await
    }
}

const REQUESTS: &str = "/reward-requests/stream";

/// Sixty grants per day and user.
fn many() -> Value {
    serde_json::json!({"recurrence": {"period": "DAILY", "count": 100}})
}
