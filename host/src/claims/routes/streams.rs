//! The streams of server-sent events: a user's reward requests, and the progress in an event.

use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::{ClaimsRead, LongLived, Pass, Principal};
use crate::claims::model::{EventProgress, RewardRequest};
use crate::claims::service::Claims;
use crate::claims::watched::{ProgressChanges, ProgressId, RETRY, RequestChanges, RequestEvent};
use crate::directory::ExternalId;
use crate::http::server_sent::StreamRequest;
use crate::http::{Params, Path, Problem};
use crate::watch::Closed;

pub(super) fn router() -> OpenApiRouter<Claims> {
    OpenApiRouter::new().routes(routes!(requests)).routes(routes!(progress))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct WatchedParams {
    /// The user that a service key or staff watch. A user omits it
    user_id: Option<Uuid>,
    /// The same by the external id, instead of `userId`
    #[param(value_type = Option<String>)]
    external_user_id: Option<ExternalId>,
}

/// Watch your reward requests; with a service key or the scope `audit:read`, those of a user.
///
/// A stream of server-sent events. An event `reward-request` says that a request was granted, held, reversed, decided by a
/// review, or rejected or failed after it was pending; its data is the reward request as it is now. The stream begins now, or
/// after `Last-Event-ID`: then each later event is sent once. An event `reset` says that some of these are no longer kept;
/// the newest 100 requests follow. A rejection that a claim is answered with is not sent.
///
/// The stream ends with the access token at the latest. Open it again, as `EventSource` does.
#[utoipa::path(
    get, path = "/reward-requests/stream", tag = "reward-requests",
    security(("bearer" = []), ("bearer" = ["claims:read"]), ("bearer" = ["audit:read"])),
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that you have"),
        WatchedParams,
    ),
    responses((
        status = 200, body = RewardRequest, content_type = "text/event-stream",
        description = "Events `reward-request`, each with a reward request as its data, and `reset`"
    )),
    extensions(("x-problems" = json!(["too-many-streams", "streams-full", "sealing-key-missing"]))),
)]
async fn requests(
    State(claims): State<Claims>,
    principal: Principal,
    long_lived: LongLived,
    request: StreamRequest,
    Params(params): Params<WatchedParams>,
) -> Result<Response, Problem> {
    let since = request.last(str::parse)?;
    let named = (params.user_id, params.external_user_id.as_ref());
    let (pass, changes) = claims.watch_requests(&principal, long_lived, named, since).await?;
    let first = match changes.position() {
        Some(position) => begin().id(position),
        None => begin(),
    };
    let told = Told {
        source: changes,
        pass,
        first: Some(first),
        farewell: farewell(&claims),
    };
    request.respond(claims.heartbeat, stream::unfold(Some(told), next))
}

/// Watch your progress in an event; with a service key, that of a user.
///
/// A stream of server-sent events `progress`: the progress now, then after each change, at most once a second. After
/// `Last-Event-ID`, the first one is left out if it says the same. The stream ends with the access token at the latest.
#[utoipa::path(
    get, path = "/events/{id}/progress/stream", tag = "events", security(("bearer" = ["claims:read"])),
    params(
        ("id" = Uuid, Path),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that you have"),
        WatchedParams,
    ),
    responses((
        status = 200, body = EventProgress, content_type = "text/event-stream",
        description = "Events `progress`, each with the progress as its data"
    )),
    extensions(
        ("x-problems" = json!([
            "too-many-streams", "streams-full", "sealing-key-missing", "no-such-event", "facts-timeout", "condition-failed",
        ])),
    ),
)]
async fn progress(
    State(claims): State<Claims>,
    ClaimsRead(principal): ClaimsRead,
    long_lived: LongLived,
    request: StreamRequest,
    Path(id): Path<Uuid>,
    Params(params): Params<WatchedParams>,
) -> Result<Response, Problem> {
    let since = request.last(ProgressId::parse)?;
    let named = (params.user_id, params.external_user_id.as_ref());
    let (pass, changes) = claims.watch_progress(&principal, long_lived, named, id, since).await?;
    let told = Told {
        source: changes,
        pass,
        first: Some(begin()),
        farewell: farewell(&claims),
    };
    request.respond(claims.heartbeat, stream::unfold(Some(told), next))
}

/// What a stream needs until its end.
struct Told<S> {
    source: S,
    pass: Pass,
    /// Says when to open the stream again, and after which event. It has no data, so clients show nothing.
    first: Option<Event>,
    /// The same after a shutdown.
    farewell: Event,
}

fn begin() -> Event {
    Event::default().retry(RETRY)
}

fn farewell(claims: &Claims) -> Event {
    Event::default().retry(claims.watched.retry_after_shutdown())
}

/// The events of one stream.
trait Source: Send {
    fn event(&mut self) -> impl Future<Output = Result<Event, Closed>> + Send;
    fn close(&mut self, why: Closed);
}

async fn next<S: Source>(told: Option<Told<S>>) -> Option<(Event, Option<Told<S>>)> {
    let mut told = told?;
    if let Some(first) = told.first.take() {
        return Some((first, Some(told)));
    }
    let event = tokio::select! {
        biased;
        () = told.pass.ended() => Err(Closed::Unauthorized),
        event = told.source.event() => event,
    };
    match event {
        Ok(event) => Some((event, Some(told))),
        Err(why) => {
            told.source.close(why);
            (why == Closed::Shutdown).then_some((told.farewell, None))
        }
    }
}

impl Source for RequestChanges {
    async fn event(&mut self) -> Result<Event, Closed> {
        let event = self.next().await?;
        let named = match event {
            RequestEvent::Reset => Event::default().event("reset").data("{}"),
            RequestEvent::Request(request) => data("reward-request", &request)?,
        };
        Ok(match self.position() {
            Some(position) => named.id(position),
            None => named,
        })
    }

    fn close(&mut self, why: Closed) {
        Self::close(self, why);
    }
}

impl Source for ProgressChanges {
    async fn event(&mut self) -> Result<Event, Closed> {
        let (id, progress) = self.next().await?;
        Ok(data("progress", &progress)?.id(id.as_str()))
    }

    fn close(&mut self, why: Closed) {
        Self::close(self, why);
    }
}

fn data(name: &str, of: &impl Serialize) -> Result<Event, Closed> {
    let json = serde_json::to_string(of).map_err(|error| {
        tracing::error!(%error, "an event of a stream cannot be written");
        Closed::Error
    })?;
    Ok(Event::default().event(name).data(json))
}
