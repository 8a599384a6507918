//! `/activities` and `/users/{id}/activities` over HTTP.

mod stream;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use garde::Validate;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use self::stream::Progress;
use super::batch::{Batch, Line, MAX_BATCH};
use super::cloud_events::{self, CloudEvent};
use super::report::{NewActivity, check_source};
use super::service::{Activity, ActivityService, Filter, Recorded};
use super::sources::SourceOwner;
use crate::auth::{ActivitiesWrite, FORBIDDEN, LongLived, OwnershipWrite, Principal, Scope};
use crate::body::many;
use crate::clock::Timestamp;
use crate::directory::UserRef;
use crate::http::extract::{Many, media_type, read_bytes, read_many};
use crate::http::{Body, Page, PageParams, Params, Path, Problem};
use crate::problem::INVALID_PARAMETER;

pub use stream::is_streamed;

pub fn router(service: ActivityService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(record))
        .routes(routes!(history))
        .routes(routes!(give_source))
        .with_state(service)
}

/// One activity, or an array of 1 to 1000.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the document names it")]
enum OneOrMany {
    One(NewActivity),
    Many(Vec<NewActivity>),
}

/// Record activities: one, an array of up to 1000, NDJSON (one activity per line), or CloudEvents.
///
/// Repeat the call if you are not sure that it arrived: the same `source` and `id` are recorded once. The server
/// records all activities of a call or none. A problem has at most 20 errors with JSON pointers: `/3/kind` is the
/// `kind` of the fourth activity in the array, or on the fourth non-blank line. If a `source` and `id` were recorded
/// with different content, the answer is `activity-conflict`; remove these activities and send the rest again.
///
/// NDJSON with `Prefer: handling=lenient` may have any length. The server records the valid lines as they arrive, and answers
/// with NDJSON: a line with the totals and the errors after each part of up to 1000 lines. After an interruption, send the
/// lines after `through`, or all of them again. A line may be a CloudEvent. A batch of CloudEvents with the same preference
/// gets one such line, in which `line` is the place of an event in the batch, from 1.
///
/// A CloudEvent may be sent in the binary mode: its attributes in headers `ce-…`, its data in the body.
#[utoipa::path(
    post, path = "/activities", tag = "activities", security(("bearer" = ["activities:write"])),
    params(
        ("Prefer" = Option<String>, Header, description = "`handling=lenient`: record the valid lines of NDJSON, or the valid CloudEvents of a batch"),
        StreamParams,
    ),
    request_body(content(
        (OneOrMany = "application/json", examples(
            ("one" = (value = json!({
                "source": "shop", "id": "order-1047", "userId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77",
                "kind": "shop.purchase", "occurredAt": "2026-03-01T09:30:00Z", "amount": 2500,
                "attributes": {"category": "hats", "items": 2, "gift": false},
            }))),
            ("many" = (value = json!([
                {"source": "game", "id": "match-1", "userId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77", "kind": "match.won"},
                {"source": "game", "id": "match-2", "userId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77", "kind": "match.lost"},
            ]))),
        )),
        (CloudEvent = "application/cloudevents+json"),
        (Vec<CloudEvent> = "application/cloudevents-batch+json"),
        (String = "application/x-ndjson", example = "{\"source\":\"game\",\"id\":\"match-1\",\"userId\":\"0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77\",\"kind\":\"match.won\"}\n"),
    )),
    responses(
        (status = 201, description = "At least one activity is new", body = Recorded, example = json!({
            "recorded": 1, "duplicates": 0,
            "items": [{"source": "shop", "id": "order-1047", "outcome": "RECORDED"}],
        })),
        (status = 200, description = "All activities were recorded before. With `handling=lenient`: one line per part", content(
            (Recorded = "application/json", example = json!({
                "recorded": 0, "duplicates": 1,
                "items": [{"source": "shop", "id": "order-1047", "outcome": "DUPLICATE"}],
            })),
            (Progress = "application/x-ndjson"),
        )),
    ),
    extensions(("x-problems" = json!(["activity-conflict", "source-not-allowed", "source-taken", "too-many-streams"]))),
)]
async fn record(
    State(service): State<ActivityService>,
    ActivitiesWrite(principal): ActivitiesWrite,
    long_lived: LongLived,
    Params(params): Params<StreamParams>,
    report: Report,
) -> Result<Response, Problem> {
    let batch = match report {
        Report::Batch(batch) => batch,
        Report::Lenient(form, items) => {
            return stream::record_batch(service, principal, (form, items), params.first_line).await;
        }
        Report::Stream(body) => return stream::record(service, (principal, long_lived), body, params.first_line),
    };
    let recorded = service.report(batch, &principal).await?;
    let status = if recorded.recorded > 0 {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, axum::Json(recorded)).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct StreamParams {
    /// With `handling=lenient`: the number of the first line, from 1, in the file that you continue to send
    #[param(minimum = 1, example = 2001)]
    first_line: Option<u64>,
}

/// The body of a report.
enum Report {
    Batch(Batch),
    /// Items of which the valid ones are recorded.
    Lenient(Line, Vec<Bytes>),
    /// Lines that are recorded as they arrive.
    Stream(axum::body::Body),
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct HistoryParams {
    /// Only activities of this kind
    #[param(example = "auth.login")]
    kind: Option<String>,
    /// Only activities at or after this time
    from: Option<Timestamp>,
    /// Only activities before this time
    to: Option<Timestamp>,
}

/// List a user's activities, newest first. Users may list their own.
#[utoipa::path(
    get, path = "/users/{id}/activities", tag = "activities", security(("bearer" = ["activities:read"])),
    params(("id" = UserRef, Path), PageParams, HistoryParams),
    responses((status = 200, body = Page<Activity>)),
    extensions(("x-roles" = json!(["self", "OPERATOR", "ADMIN"])), ("x-problems" = json!(["no-such-user"]))),
)]
async fn history(
    State(service): State<ActivityService>,
    principal: Principal,
    Path(user): Path<UserRef>,
    Params(page): Params<PageParams>,
    Params(params): Params<HistoryParams>,
) -> Result<axum::Json<Page<Activity>>, Problem> {
    let found = service.id_of(user).await;
    // An unknown external id is not the id of the caller.
    let user_id = found.as_ref().copied().unwrap_or_default();
    if !principal.is_or_has(user_id, Scope::ActivitiesRead) {
        return Err(Problem::new(
            FORBIDDEN,
            format!(
                "You may list your own activities; to list those of others, you need the scope {}.",
                Scope::ActivitiesRead
            ),
        ));
    }
    found?;
    let (size, after) = (page.size()?, page.after()?);
    let filter = Filter {
        kind: params.kind,
        from: params.from,
        to: params.to,
    };
    let mut activities = service.history(user_id, filter, after, size).await?;
    if !principal.has(Scope::ActivitiesRead) {
        // Users do not see which employee reported an activity.
        for activity in &mut activities {
            activity.reported_by = None;
        }
    }
    Ok(axum::Json(Page::new(
        activities,
        size,
        |activity| (activity.occurred_at, activity.key),
        |activity| activity,
    )))
}

/// The new owner of a source.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewSourceOwner)]
struct NewOwner {
    /// A user or service key
    #[garde(skip)]
    owner_id: Uuid,
}

/// Give a source to another user or service key. Only its owner may report activities under a source.
///
/// Without this, a source belongs to the first principal that reports under it.
#[utoipa::path(
    put, path = "/activity-sources/{source}/owner", tag = "activities", security(("bearer" = ["ownership:write"])),
    params(("source" = String, Path)),
    request_body = NewOwner,
    responses((status = 200, body = SourceOwner)),
)]
async fn give_source(
    State(service): State<ActivityService>,
    _: OwnershipWrite,
    Path(source): Path<String>,
    Body(new): Body<NewOwner>,
) -> Result<axum::Json<SourceOwner>, Problem> {
    let source = check_source(source).map_err(|message| Problem::new(INVALID_PARAMETER, message))?;
    Ok(axum::Json(service.give_source(source, new.owner_id).await?))
}

impl<S: Send + Sync> FromRequest<S> for Report {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if stream::is_lenient(request.headers()) {
            return Ok(Self::Stream(request.into_body()));
        }
        let is_lenient = stream::wants_lenience(request.headers());
        let batch = match media_type(request.headers()).as_str() {
            "application/cloudevents+json" => Batch::from_cloud_event(&read_bytes(request, state).await?),
            "application/cloudevents-batch+json" if is_lenient => {
                let bytes = read_bytes(request, state).await?;
                let items = many::array(&bytes)?;
                many::check_count(items.len(), MAX_BATCH, "activities")?;
                let items = items.into_iter().map(|item| bytes.slice_ref(item));
                return Ok(Self::Lenient(Line::CloudEvent, items.collect()));
            }
            "application/cloudevents-batch+json" => Batch::from_cloud_events(&read_bytes(request, state).await?),
            // The binary mode: attributes in headers, data in the body.
            content_type if request.headers().contains_key("ce-specversion") => {
                let content_type = content_type.to_owned();
                let headers = request.headers().clone();
                let attributes = headers.iter().filter_map(|(name, value)| {
                    let name = name.as_str().strip_prefix("ce-")?;
                    Some((name, value.to_str().unwrap_or_default()))
                });
                let data = read_bytes(request, state).await?;
                Batch::from_cloud_event(&cloud_events::from_parts(attributes, &content_type, &data)?)
            }
            _ => match read_many(request, state).await? {
                Many::Json(bytes) => Batch::from_json(&bytes),
                Many::Lines(bytes) => Batch::from_lines(&bytes),
            },
        };
        batch.map(Self::Batch)
    }
}
