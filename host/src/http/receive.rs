//! Receives a request: refuses what no route can read, and reads its body before the request takes part of the capacity of
//! the server ([`super::overload`]).
//!
//! So a client that sends its body slowly holds its own connection and nothing else. Small bodies need no reservation,
//! because the number of connections limits them; the larger ones of all clients share an amount of memory, and one address
//! can use a part of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::connections::Connection;
use super::peer::{self, Peer};
use crate::body;
use crate::problem::{
    BODY_TIMEOUT, BODY_TOO_LARGE, INVALID_HOST, MALFORMED_JSON, OVERLOADED, Problem, UNSUPPORTED_ENCODING,
};

/// A body up to this size needs no reservation.
const SMALL_BYTES: usize = 16 << 10;
/// The memory for the larger bodies of all clients, and of one address.
const ALL_BYTES: usize = 64 << 20;
const ADDRESS_BYTES: usize = ALL_BYTES / 8;
/// How much of a refused body the server reads, so that a client that writes before it reads gets the response.
const DRAINED_BYTES: usize = 16 << 20;
/// In seconds.
const RETRY_AFTER: u32 = 1;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bodies(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// From the head to the end of the body.
    timeout: Duration,
    proxies: Vec<IpNet>,
    /// Whether a route reads the body itself, after it knows its client.
    is_streamed: fn(&Parts) -> bool,
    reserved: Mutex<Reserved>,
}

#[derive(Debug, Default)]
struct Reserved {
    all: usize,
    by_address: HashMap<String, usize>,
}

impl Bodies {
    pub fn new(timeout: Duration, proxies: Vec<IpNet>, is_streamed: fn(&Parts) -> bool) -> Self {
        Self(Arc::new(Inner {
            timeout,
            proxies,
            is_streamed,
            reserved: Mutex::default(),
        }))
    }

    /// The whole body, and its reservation.
    async fn read(&self, parts: &Parts, body: Body) -> Result<(Bytes, Reservation), Problem> {
        let deadline = Instant::now() + self.0.timeout;
        let client = peer::client(&parts.extensions, &parts.headers, &self.0.proxies);
        let mut reservation = Reservation {
            bodies: self.clone(),
            address: peer::name(client),
            bytes: 0,
        };
        let declared = body.size_hint();
        let mut pieces = body.into_data_stream();
        if declared.lower() > body::LIMIT as u64 {
            drain(&parts.headers, pieces, deadline).await;
            return Err(too_large());
        }
        let mut first = Bytes::new();
        let mut whole = Vec::new();
        loop {
            let piece = match timeout_at(deadline, pieces.next()).await {
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(error))) => {
                    return Err(Problem::new(
                        MALFORMED_JSON,
                        format!("The body could not be read: {error}."),
                    ));
                }
                Ok(None) => break,
                Err(_) => {
                    return Err(Problem::new(
                        BODY_TIMEOUT,
                        format!(
                            "The body did not arrive within {} seconds; nothing was done. Send it again, in smaller parts on a slow \
                             connection.",
                            self.0.timeout.as_secs()
                        ),
                    ));
                }
            };
            let length = first.len() + whole.len() + piece.len();
            if length > body::LIMIT {
                // What is refused holds no memory while the rest arrives.
                drop((whole, reservation));
                drain(&parts.headers, pieces, deadline).await;
                return Err(too_large());
            }
            // The streams of HTTP/2 are more than the connections.
            let is_large = length > SMALL_BYTES || parts.version == Version::HTTP_2;
            if is_large && !reservation.grow(length) {
                // What is refused holds no memory while the rest arrives.
                drop((whole, reservation));
                drain(&parts.headers, pieces, deadline).await;
                metrics::counter!("meed_requests_shed_total").increment(1);
                return Err(Problem::new(
                    OVERLOADED,
                    "The server is busy with large bodies; nothing was done. Retry later, or send smaller bodies.",
                )
                .retry_after(RETRY_AFTER));
            }
            // Most bodies are one piece, which needs no copy.
            if first.is_empty() && whole.is_empty() {
                first = piece;
                continue;
            }
            if whole.is_empty() {
                whole = std::mem::take(&mut first).to_vec();
            }
            whole.extend_from_slice(&piece);
        }
        Ok((if whole.is_empty() { first } else { whole.into() }, reservation))
    }
}

fn too_large() -> Problem {
    Problem::new(
        BODY_TOO_LARGE,
        "The body is larger than this route accepts; send less at a time.",
    )
}

/// Reads and discards the rest, unless the client waits for permission to send it.
async fn drain(headers: &HeaderMap, mut pieces: axum::body::BodyDataStream, deadline: Instant) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let mut drained = 0;
    while drained < DRAINED_BYTES
        && let Ok(Some(Ok(piece))) = timeout_at(deadline, pieces.next()).await
    {
        drained += piece.len();
    }
}

/// Memory for a body, until its request ends.
struct Reservation {
    bodies: Bodies,
    address: String,
    bytes: usize,
}

impl Reservation {
    /// Whether there is memory for a body of this length.
    fn grow(&mut self, length: usize) -> bool {
        let more = length - self.bytes;
        let mut reserved = self.bodies.0.reserved.lock();
        let of_address = reserved.by_address.get(&self.address).copied().unwrap_or_default();
        if reserved.all + more > ALL_BYTES || of_address + more > ADDRESS_BYTES {
            return false;
        }
        reserved.all += more;
        reserved.by_address.insert(self.address.clone(), of_address + more);
        self.bytes = length;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut reserved = self.bodies.0.reserved.lock();
        reserved.all -= self.bytes;
        if let Some(of_address) = reserved.by_address.get_mut(&self.address) {
            *of_address -= self.bytes;
            if *of_address == 0 {
                reserved.by_address.remove(&self.address);
            }
        }
    }
}

pub async fn layer(State(bodies): State<Bodies>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(problem) = check_host(&parts) {
        return problem.into_response();
    }
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    if let Some(encoding) = encoding(&parts.headers) {
        let problem = Problem::new(
            UNSUPPORTED_ENCODING,
            format!("Content-Encoding is {encoding:?}; send the body without compression."),
        );
        let accepted = [(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))];
        return (accepted, problem).into_response();
    }
    if (bodies.0.is_streamed)(&parts) {
        return stream(&bodies, parts, body, next).await;
    }
    let connection = parts.extensions.get::<Arc<Connection>>().cloned();
    let pause = connection.as_ref().map(Connection::pause);
    let read = bodies.read(&parts, body).await;
    drop(pause);
    match read {
        // The reservation ends with the request.
        Ok((bytes, _reservation)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Err(problem) => problem.into_response(),
    }
}

/// Lets the route read the body. If it refuses the request before that, the rest is read and discarded here.
async fn stream(bodies: &Bodies, parts: Parts, body: Body, next: Next) -> Response {
    let shared = Arc::new(Mutex::new(body.into_data_stream()));
    let headers = parts.headers.clone();
    // HTTP/2 can end a stream without the connection.
    let must_drain = parts.version != Version::HTTP_2;
    let connection = parts.extensions.get::<Arc<Connection>>().cloned();
    let pieces = futures_util::stream::poll_fn({
        let shared = Arc::clone(&shared);
        move |cx| {
            // Asking the client for the body marked it as waiting.
            if let Some(connection) = &connection {
                connection.works();
            }
            shared.lock().poll_next_unpin(cx)
        }
    });
    let response = next.run(Request::from_parts(parts, Body::from_stream(pieces))).await;
    if must_drain
        && response.status().is_client_error()
        && let Some(rest) = Arc::into_inner(shared)
    {
        drain(&headers, rest.into_inner(), Instant::now() + bodies.0.timeout).await;
    }
    response
}

/// A request of HTTP/1.1 names the host once (RFC 9112, 3.2). Two names are how a request means one host to a proxy and
/// another to the server.
fn check_host(parts: &Parts) -> Result<(), Problem> {
    let hosts = parts.headers.get_all(header::HOST).iter();
    // Of HTTP/2, where `:authority` is the host; a proxy may send both.
    let authority = parts.uri.authority().filter(|_| parts.version == Version::HTTP_2);
    let hosts = match authority {
        None => hosts.count(),
        Some(authority) => {
            1 + hosts
                .filter(|host| host.as_bytes() != authority.as_str().as_bytes())
                .count()
        }
    };
    // Requests without a connection are those of tests.
    if hosts == 1 || (hosts == 0 && (parts.version < Version::HTTP_11 || parts.extensions.get::<Peer>().is_none())) {
        return Ok(());
    }
    Err(Problem::new(
        INVALID_HOST,
        format!("The request has {hosts} Host headers; send exactly one."),
    ))
}

/// How the body is compressed, if it is.
fn encoding(headers: &HeaderMap) -> Option<String> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encodings: Vec<_> = encodings
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let encodings = encodings.join(", ");
    (!encodings.is_empty() && !encodings.eq_ignore_ascii_case("identity")).then_some(encodings)
}
