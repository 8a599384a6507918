//! `/events` over HTTP. The route for a user's progress belongs to `claims`, because it evaluates the condition.

mod groups;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::budget::EventBudget;
use super::error::EventError;
use super::model::{ActiveEvent, Event, NewEvent, PopularEvent, PopularEvents};
use super::service::{EventRevision, EventSeed, EventService};
use super::store::Filter;
use crate::auth::{ClaimsRead, EventsRead, EventsWrite, Principal};
use crate::http::extract::with_etag;
use crate::http::{Body, Code, IfMatch, Page, PageParams, Params, Path, Problem};
use crate::plugins::{PluginError, field_errors};
use crate::problem::{FACTS_COMPACTED, INVALID_PARAMETER, RELEASE_REQUIRED, REVISION_REQUIRED};

pub const NO_SUCH_EVENT: Code = Code::new("no-such-event", 404, "There is no such event");
const EVENT_CHANGED: Code = Code::new("event-changed", 412, "The event changed since you read it");
const EVENT_OVER: Code = Code::new("event-over", 409, "The event has ended");
const EVENT_STARTED: Code = Code::new("event-started", 409, "The event has started");
const EVENT_NAME_TAKEN: Code = Code::new("event-name-taken", 409, "Another event has the name");
const NO_SUCH_EVENT_GROUP: Code = Code::new("no-such-event-group", 404, "There is no such event group");
const EVENT_GROUP_CHANGED: Code = Code::new("event-group-changed", 412, "The event group changed since you read it");
const FACTS_NOT_READY: Code = Code::new("facts-not-ready", 409, "The facts of the event are still being built");
const EVENT_HAS_CANDIDATE: Code = Code::new(
    "event-has-candidate",
    409,
    "A release tries another condition for the event",
);
const CANDIDATE_TOO_LARGE: Code = Code::new(
    "candidate-too-large",
    409,
    "The condition and its candidate have too many queries together",
);
const EVENT_GROUP_IN_USE: Code = Code::new("event-group-in-use", 409, "An event is in the group");

const NEVER_LIVE: Code = Code::new("never-live", 409, "The event was not active at this revision");

pub const CODES: &[Code] = &[
    NEVER_LIVE,
    NO_SUCH_EVENT,
    EVENT_CHANGED,
    EVENT_OVER,
    EVENT_STARTED,
    EVENT_NAME_TAKEN,
    NO_SUCH_EVENT_GROUP,
    EVENT_GROUP_CHANGED,
    FACTS_NOT_READY,
    EVENT_GROUP_IN_USE,
    EVENT_HAS_CANDIDATE,
    CANDIDATE_TOO_LARGE,
];

pub fn router(service: EventService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(active))
        .routes(routes!(popular))
        .routes(routes!(get, replace, delete))
        .routes(routes!(revisions))
        .routes(routes!(seed))
        .routes(routes!(budget))
        .merge(groups::router())
        .with_state(service)
}

/// Create an event.
///
/// The plugin's JSON Schema and its `bind` validate the params. The digest pins the plugin version.
#[utoipa::path(
    post, path = "/events", tag = "events", security(("bearer" = ["events:write"])),
    request_body = NewEvent,
    responses((status = 201, body = Event, headers(("Location" = String), ("ETag" = String)))),
    extensions(("x-problems" = json!(["event-name-taken", "plugin-failed", "facts-not-ready", "facts-compacted", "release-required"]))),
)]
async fn create(
    State(service): State<EventService>,
    EventsWrite(principal): EventsWrite,
    Body(new): Body<NewEvent>,
) -> Result<impl IntoResponse, Problem> {
    let event = service.create(new, principal.id()).await?;
    let location = [(header::LOCATION, format!("/events/{}", event.id))];
    Ok((StatusCode::CREATED, location, with_etag(event.revision, event)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only the event with this name
    #[param(example = "seven-day-streak")]
    name: Option<String>,
    is_active: Option<bool>,
    /// Only events with this tag
    tag: Option<String>,
    /// Only events whose condition is this plugin
    #[param(example = "login-streak")]
    plugin: Option<String>,
    /// Only events whose condition has this version
    #[param(example = "1.0.0")]
    version: Option<String>,
    /// Only events that run at this time
    at: Option<crate::clock::Timestamp>,
}

/// List events, newest first.
#[utoipa::path(
    get, path = "/events", tag = "events", security(("bearer" = ["events:read"])),
    params(PageParams, ListParams),
    responses((status = 200, body = Page<Event>)),
    extensions(("x-problems" = json!(["sealing-key-missing"]))),
)]
async fn list(
    State(service): State<EventService>,
    _: EventsRead,
    Params(page): Params<PageParams>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Event>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let filter = Filter {
        name: params.name,
        is_active: params.is_active,
        tag: params.tag,
        plugin: params.plugin,
        version: params.version,
        at: params.at,
    };
    let events = service.list(filter, after, size).await?;
    Ok(axum::Json(Page::new(events, size, |event| event.id, |event| event)))
}

/// List the running events as users see them, newest first.
#[utoipa::path(
    get, path = "/events/active", tag = "events", security(("bearer" = ["claims:read"])),
    params(PageParams),
    responses((status = 200, body = Page<ActiveEvent>)),
    extensions(("x-problems" = json!(["sealing-key-missing"]))),
)]
async fn active(
    State(service): State<EventService>,
    _: ClaimsRead,
    Params(page): Params<PageParams>,
) -> Result<axum::Json<Page<ActiveEvent>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let events = service.active(after, size).await?;
    Ok(axum::Json(Page::new(events, size, |event| event.id, |event| event)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PopularParams {
    /// The maximum number of events: 1 to 50, by default 10
    #[param(minimum = 1, maximum = 50, default = 10)]
    limit: Option<usize>,
}

/// List the running events with the most claims in the last 24 hours, as users see them.
#[utoipa::path(
    get, path = "/events/popular", tag = "events", security(("bearer" = ["claims:read"])),
    params(PopularParams),
    responses((status = 200, body = PopularEvents)),
    extensions(("x-problems" = json!(["sealing-key-missing"]))),
)]
async fn popular(
    State(service): State<EventService>,
    _: ClaimsRead,
    Params(params): Params<PopularParams>,
) -> Result<axum::Json<PopularEvents>, Problem> {
    let limit = params.limit.unwrap_or(10);
    if !(1..=50).contains(&limit) {
        return Err(Problem::new(
            INVALID_PARAMETER,
            format!("limit is {limit}; it must be 1 to 50."),
        ));
    }
    let events = service.popular(limit).await?;
    let items = events
        .into_iter()
        .map(|(event, claims)| PopularEvent { event, claims })
        .collect();
    Ok(axum::Json(PopularEvents { items }))
}

/// Get an event.
#[utoipa::path(
    get, path = "/events/{id}", tag = "events", security(("bearer" = ["events:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Event, headers(("ETag" = String)))),
    extensions(("x-problems" = json!(["sealing-key-missing", "no-such-event"]))),
)]
async fn get(
    State(service): State<EventService>,
    _: EventsRead,
    Path(id): Path<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    let event = service.get(id).await?;
    Ok(with_etag(event.revision, event))
}

/// Replace an event. Reward requests and grants refer to the revision at which they were decided.
///
/// After the event's start, `startDate`, `timeZone` and `recurrence.period` cannot change, because earlier grants
/// depend on them. After its end, `endDate` cannot change either, because the secret of its draws is public.
#[utoipa::path(
    put, path = "/events/{id}", tag = "events", security(("bearer" = ["events:write"])),
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag of the version you read")),
    request_body = NewEvent,
    responses((status = 200, body = Event, headers(("ETag" = String)))),
    extensions(
        ("x-problems" = json!(["release-required", "facts-not-ready", "facts-compacted", "sealing-key-missing", "no-such-event", "event-changed", "event-started", "event-over", "event-name-taken", "event-has-candidate", "candidate-too-large", "revision-required", "plugin-failed"])),
    ),
)]
async fn replace(
    State(service): State<EventService>,
    EventsWrite(principal): EventsWrite,
    Path(id): Path<Uuid>,
    IfMatch(revision): IfMatch,
    Body(new): Body<NewEvent>,
) -> Result<impl IntoResponse, Problem> {
    let event = service.replace(id, revision, new, principal.id()).await?;
    Ok(with_etag(event.revision, event))
}

/// Delete an event. Users can no longer see or claim it. Its reward requests, grants and revisions remain.
#[utoipa::path(
    delete, path = "/events/{id}", tag = "events", security(("bearer" = ["events:write"])),
    params(
        ("id" = Uuid, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version you read; omit it to delete any version"),
    ),
    responses((status = 204)),
    extensions(("x-problems" = json!(["sealing-key-missing", "no-such-event", "event-changed"]))),
)]
async fn delete(
    State(service): State<EventService>,
    EventsWrite(principal): EventsWrite,
    Path(id): Path<Uuid>,
    revision: Option<IfMatch>,
) -> Result<StatusCode, Problem> {
    service
        .delete(id, revision.and_then(|IfMatch(revision)| revision), principal.id())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the revisions of an event, also of a deleted one, newest first.
#[utoipa::path(
    get, path = "/events/{id}/revisions", tag = "events", security(("bearer" = ["events:read"])),
    params(("id" = Uuid, Path), PageParams),
    responses((status = 200, body = Page<EventRevision>)),
    extensions(("x-problems" = json!(["no-such-event"]))),
)]
async fn revisions(
    State(service): State<EventService>,
    _: EventsRead,
    Path(id): Path<Uuid>,
    Params(page): Params<PageParams>,
) -> Result<axum::Json<Page<EventRevision>>, Problem> {
    let (size, before) = (page.size()?, page.after()?);
    let revisions = service.revisions(id, before, size).await?;
    Ok(axum::Json(Page::new(
        revisions,
        size,
        |revision| revision.revision,
        |revision| revision,
    )))
}

/// Get the values that verify an event's draws: the hash of the secret, and the secret itself after the event's end.
///
/// The seed of a claim is HMAC-SHA256 with the secret over the lines `meed-seed/1`, `claim`, the event's id, the user's
/// id, the period and the slot of the receipt. `meed replay --seed-secret` computes it.
#[utoipa::path(
    get, path = "/events/{id}/seed", tag = "events", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = EventSeed)),
    extensions(
        ("x-problems" = json!(["sealing-key-missing", "no-such-event"])),
    ),
)]
async fn seed(
    State(service): State<EventService>,
    _: Principal,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<EventSeed>, Problem> {
    Ok(axum::Json(service.seed(id).await?))
}

/// Get an event's budget and its usage by period.
#[utoipa::path(
    get, path = "/events/{id}/budget", tag = "events", security(("bearer" = ["events:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = EventBudget)),
    extensions(("x-problems" = json!(["sealing-key-missing", "no-such-event"]))),
)]
async fn budget(
    State(service): State<EventService>,
    _: EventsRead,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<EventBudget>, Problem> {
    Ok(axum::Json(service.budget(id).await?))
}

impl From<EventError> for Problem {
    fn from(error: EventError) -> Self {
        let detail = error.to_string();
        match error {
            EventError::NotFound(_) => Self::new(NO_SUCH_EVENT, detail),
            EventError::Changed { .. } => Self::new(EVENT_CHANGED, detail),
            EventError::Over(_) => Self::new(EVENT_OVER, detail),
            EventError::Started(_) => Self::new(EVENT_STARTED, detail),
            EventError::FactsNotReady(_) => Self::new(FACTS_NOT_READY, detail),
            EventError::FactsCompacted(_) => Self::new(FACTS_COMPACTED, detail),
            EventError::NameTaken(_) => Self::new(EVENT_NAME_TAKEN, detail),
            EventError::Field { pointer, message } => Self::field(pointer, message),
            EventError::NoGroup(_) => Self::new(NO_SUCH_EVENT_GROUP, detail),
            EventError::GroupChanged { .. } => Self::new(EVENT_GROUP_CHANGED, detail),
            EventError::GroupExists(_) => Self::new(REVISION_REQUIRED, detail),
            EventError::HasCandidate { .. } => Self::new(EVENT_HAS_CANDIDATE, detail),
            EventError::TooManyQueries(_) => Self::new(CANDIDATE_TOO_LARGE, detail),
            EventError::GroupInUse { .. } => Self::new(EVENT_GROUP_IN_USE, detail),
            EventError::Plugin(PluginError::Params(issues)) => Self::fields(field_errors("/condition/params", issues)),
            EventError::Plugin(error) => error.into(),
            EventError::ReleaseRequired { event, .. } => Self::new(RELEASE_REQUIRED, detail).with("eventId", event),
            EventError::NeverLive(..) => Self::new(NEVER_LIVE, detail),
            EventError::Zone(_) | EventError::Snapshot(..) | EventError::Secret(_) | EventError::Candidate(_) => {
                Self::internal(error)
            }
            EventError::Reward(error) => error.into(),
            EventError::Sealed(error) => error.into(),
            EventError::Db(error) => error.into(),
        }
    }
}
