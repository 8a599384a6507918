//! The methods that watch: their responses are streams of changes, which last.
//!
//! The bounds of the streams are those of REST. Must not know: the content of the messages.

use std::time::Duration;

use connectrpc::{ConnectError, RequestContext, Response, ServiceResult, ServiceStream};
use futures_util::{StreamExt as _, stream};
use tokio::time::timeout;

use super::refusal::end_of;
use crate::auth::Pass;
use crate::claims::{Claims, RETRY};
use crate::correlation;
use crate::http::connections::begin_stream;
use crate::http::server_sent::ACCEL_BUFFERING;
use crate::watch::Closed;

/// The messages of one stream.
pub(super) trait Source: Send + 'static {
    type Message: Default + Send + 'static;

    /// The next message; `None`: the stream is complete.
    fn message(&mut self) -> impl Future<Output = Result<Option<Self::Message>, Closed>> + Send;

    /// Notes for the metrics why it is about to be dropped.
    fn close(&mut self, why: Closed);
}

/// What a stream needs until its end.
struct Watch<S> {
    source: S,
    pass: Pass,
    /// When the client watches again after a shutdown.
    farewell: Duration,
    request_id: Option<String>,
}

/// The response. Between messages, an empty one every `streams.heartbeat_seconds` keeps the connection open.
pub(super) fn respond<S: Source>(
    context: &RequestContext,
    claims: &Claims,
    pass: Pass,
    source: S,
) -> ServiceResult<ServiceStream<S::Message>> {
    begin_stream(context.extensions().get())?;
    let watch = Watch {
        source,
        pass,
        farewell: claims.watched().retry_after_shutdown(),
        request_id: correlation::current(),
    };
    // A stream of its own, because a message that is being read must survive a heartbeat.
    let messages = stream::unfold(Some(watch), next).boxed();
    let heartbeat = claims.heartbeat();
    let kept_open = stream::unfold(messages, move |mut messages| async move {
        match timeout(heartbeat, messages.next()).await {
            Ok(message) => Some((message?, messages)),
            Err(_) => Some((Ok(S::Message::default()), messages)),
        }
    });
    Ok(Response::stream(kept_open).with_header(ACCEL_BUFFERING, "no"))
}

type Step<S> = (Result<<S as Source>::Message, ConnectError>, Option<Watch<S>>);

async fn next<S: Source>(watch: Option<Watch<S>>) -> Option<Step<S>> {
    let mut watch = watch?;
    let message = tokio::select! {
        biased;
        () = watch.pass.ended() => Err(Closed::Unauthorized),
        message = watch.source.message() => message,
    };
    match message {
        Ok(message) => Some((Ok(message?), Some(watch))),
        Err(why) => {
            watch.source.close(why);
            let retry = match why {
                Closed::Shutdown => Some(watch.farewell),
                Closed::Error => Some(RETRY),
                Closed::Client | Closed::Slow | Closed::Age | Closed::Unauthorized => None,
            };
            Some((Err(end_of(why, retry, watch.request_id)), None))
        }
    }
}
