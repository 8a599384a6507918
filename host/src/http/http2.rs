//! HTTP/2 on a connection: whether a client speaks it, and what a client can hold of the server with it.
//!
//! A connection carries many requests, and the client decides how fast it reads each response. So the number of streams is
//! bounded, responses go out in small parts, and a connection ends when its client takes no part of a response for the time
//! that a client may take.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tower::{Service, ServiceExt as _};

use super::stream::Stream;

/// Requests that a connection has open at the same time.
const MAX_STREAMS: u32 = 64;
/// The largest head of a request, as the sum of its names and values and 32 bytes for each.
const MAX_HEAD_BYTES: u32 = 64 << 10;
/// What a client may send ahead: of one body, and of all bodies of the connection.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What is written ahead of one response, and the largest part of it.
const PART_BYTES: usize = 16 << 10;
/// Streams that the client resets before the server has accepted them, and streams that the server resets because of an
/// error of the client. More end the connection.
const MAX_RESETS: usize = 20;
const MAX_ERRORS: usize = 64;
/// Between two looks for a response that its client does not take, and at the first bytes of a slow client.
const PERIOD: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(20);

/// How a client begins that speaks HTTP/2 (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether the client begins with the preface. All of it has arrived then, so that pings find out whether the client is there.
pub(super) async fn is_spoken(tcp: &TcpStream, patience: Duration) -> io::Result<bool> {
    let look = async {
        loop {
            let mut first = [0; PREFACE.len()];
            let length = tcp.peek(&mut first).await?;
            match PREFACE.strip_prefix(&first[..length]) {
                Some([]) => return Ok(true),
                Some(_) if length > 0 => sleep(MOMENT).await,
                _ => return Ok(false),
            }
        }
    };
    timeout(patience, look)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Serves the connection until it ends. `patience`: how long the client may take to answer, and to take a part of a response.
pub(super) async fn serve<S>(stream: Stream, service: S, watcher: Watcher, patience: Duration) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let turns = Arc::new(Turns::default());
    let paced = service.map_response({
        let turns = Arc::clone(&turns);
        move |response: Response<Body>| response.map(|body| Paced::new(body, &turns))
    });
    let mut http = Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(PART_BYTES)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_ERRORS)
        .keep_alive_interval(patience)
        .keep_alive_timeout(patience);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(paced));
    tokio::select! {
        served = watcher.watch(served) => served.map_err(io::Error::other),
        () = turns.outlast(patience) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Since when the client has not taken a part of each response; `None`: the server has to make the next part.
#[derive(Debug, Default)]
struct Turns(Mutex<HashMap<u64, Option<Instant>>>);

impl Turns {
    /// Completes when a client has not taken a part of a response for so long.
    async fn outlast(&self, patience: Duration) {
        let is_late = |since: &Option<Instant>| since.is_some_and(|since| since.elapsed() > patience);
        while !self.0.lock().values().any(is_late) {
            sleep(PERIOD).await;
        }
    }
}

/// A response in parts, of which the client takes one after another.
struct Paced {
    body: Body,
    rest: Bytes,
    id: u64,
    turns: Arc<Turns>,
}

impl Paced {
    fn new(body: Body, turns: &Arc<Turns>) -> Self {
        let mut open = turns.0.lock();
        // Fewer than a connection has streams.
        let id = (0..=u64::MAX).find(|id| !open.contains_key(id)).unwrap_or_default();
        open.insert(id, Some(Instant::now()));
        drop(open);
        Self {
            body,
            rest: Bytes::new(),
            id,
            turns: Arc::clone(turns),
        }
    }

    fn turn(&self, since: Option<Instant>) {
        self.turns.0.lock().insert(self.id, since);
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.turns.0.lock().remove(&self.id);
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            self.turn(None);
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                last => return Poll::Ready(last),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let length = self.rest.len().min(PART_BYTES);
        let part = self.rest.split_to(length);
        self.turn(Some(Instant::now()));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}
