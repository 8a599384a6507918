//! Server-sent events: a response that lasts, on a connection of its own.
//!
//! Must not know: what the events say.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _};

use super::connections::{Connection, begin_stream};
use crate::problem::{INVALID_PARAMETER, Problem};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells nginx, and proxies that imitate it, to pass on each event at once.
pub const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The request for a stream: its connection, and the last event that the client has.
#[derive(Debug)]
pub struct StreamRequest {
    connection: Option<Arc<Connection>>,
    last: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for StreamRequest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(LAST_EVENT_ID).iter();
        let last = values
            .next()
            .map(|value| value.to_str().unwrap_or("\u{fffd}").to_owned());
        if values.next().is_some() {
            let detail = "The request has more than one Last-Event-ID; send one.";
            return Err(Problem::new(INVALID_PARAMETER, detail));
        }
        Ok(Self {
            connection: parts.extensions.get::<Arc<Connection>>().cloned(),
            // A client that has no id may send an empty one.
            last: last.filter(|last| !last.is_empty()),
        })
    }
}

impl StreamRequest {
    /// The id of the last event that the client has.
    pub fn last<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, Problem> {
        let last = self.last.as_deref().map(parse).transpose();
        last.map_err(|fault| Problem::new(INVALID_PARAMETER, format!("Last-Event-ID: {fault}.")))
    }

    /// The response. Between events, a comment every `heartbeat` keeps the connection open.
    pub fn respond(
        self,
        heartbeat: Duration,
        events: impl Stream<Item = Event> + Send + 'static,
    ) -> Result<Response, Problem> {
        begin_stream(self.connection.as_ref())?;
        let events = events.map(Ok::<_, Infallible>);
        let mut response = Sse::new(events)
            .keep_alive(KeepAlive::new().interval(heartbeat).text(""))
            .into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
        Ok(response)
    }
}
