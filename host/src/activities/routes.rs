//! `/activities` and `/users/{id}/activities` over HTTP.

use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use garde::Validate as _;
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::report::NewActivity;
use super::service::{Activity, ActivityError, ActivityService, Fault, Filter, Recorded};
use crate::auth::{Caller, FORBIDDEN, Operator, Role};
use crate::clock::Instant;
use crate::http::extract::{field_errors, parse, read_bytes};
use crate::http::problem::{INVALID_BODY, MALFORMED_JSON, UNSUPPORTED_MEDIA_TYPE};
use crate::http::{Code, FieldError, Page, PageParams, Params, Path, Problem};

const ACTIVITY_CONFLICT: Code = Code::new(
    "activity-conflict",
    409,
    "The source and id were recorded with another content",
);
const NO_SUCH_USER: Code = Code::new("no-such-user", 404, "There is no such user");

pub const CODES: &[Code] = &[ACTIVITY_CONFLICT, NO_SUCH_USER];

const MAX_BATCH: usize = 1000;
/// A batch with the same fault everywhere is not answered with a thousand of them.
const MAX_FAULTS: usize = 20;

pub fn router(service: ActivityService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(record))
        .routes(routes!(history))
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

/// Report what users did: one activity, an array of up to 1000, or NDJSON (one activity per line).
///
/// Repeat a call when you are not sure that it arrived: the same `source` and `id` are recorded once. All of a call's
/// activities are recorded or none is. A problem names activities by their place: `/3/kind` is the `kind` of the fourth
/// in the array, or on the fourth line that is not blank; it names at most 20 faults. When a `source` and `id` are
/// known with another content the answer is `activity-conflict`; leave those activities out and send the rest again.
#[utoipa::path(
    post, path = "/activities", tag = "activities", security(("bearer" = [])),
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
        (String = "application/x-ndjson", example = "{\"source\":\"game\",\"id\":\"match-1\",\"userId\":\"0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77\",\"kind\":\"match.won\"}\n"),
    )),
    responses(
        (status = 201, description = "At least one is new", body = Recorded, example = json!({
            "recorded": 1, "duplicates": 0,
            "items": [{"source": "shop", "id": "order-1047", "outcome": "RECORDED"}],
        })),
        (status = 200, description = "All were there already", body = Recorded, example = json!({
            "recorded": 0, "duplicates": 1,
            "items": [{"source": "shop", "id": "order-1047", "outcome": "DUPLICATE"}],
        })),
    ),
    extensions(("x-roles" = json!(["OPERATOR", "ADMIN"])), ("x-problems" = json!(["activity-conflict"]))),
)]
async fn record(
    State(service): State<ActivityService>,
    _: Operator,
    batch: Batch,
) -> Result<(StatusCode, axum::Json<Recorded>), Problem> {
    let place = batch.place;
    let recorded = service
        .record(batch.activities)
        .await
        .map_err(|error| place.problem(error))?;
    let status = if recorded.recorded > 0 {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, axum::Json(recorded)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct HistoryParams {
    /// Only activities of this kind
    #[param(example = "auth.login")]
    kind: Option<String>,
    /// Only what happened at or after this instant
    from: Option<Instant>,
    /// Only what happened before this instant
    to: Option<Instant>,
}

/// List what a user did, newest first. Users may list their own.
#[utoipa::path(
    get, path = "/users/{id}/activities", tag = "activities", security(("bearer" = [])),
    params(("id" = Uuid, Path), PageParams, HistoryParams),
    responses((status = 200, body = Page<Activity>)),
    extensions(("x-roles" = json!(["self", "OPERATOR", "ADMIN"])), ("x-problems" = json!(["no-such-user"]))),
)]
async fn history(
    State(service): State<ActivityService>,
    caller: Caller,
    Path(user_id): Path<Uuid>,
    Params(page): Params<PageParams>,
    Params(params): Params<HistoryParams>,
) -> Result<axum::Json<Page<Activity>>, Problem> {
    if caller.user_id != user_id && !matches!(caller.role, Role::Operator | Role::Admin) {
        return Err(Problem::new(
            FORBIDDEN,
            format!(
                "You are {}; you may list your own activities, those of others need OPERATOR or ADMIN.",
                caller.role
            ),
        ));
    }
    let (size, after) = (page.size()?, page.after()?);
    let filter = Filter {
        kind: params.kind,
        from: params.from,
        to: params.to,
    };
    let activities = service.history(user_id, filter, after, size).await?;
    Ok(axum::Json(Page::new(
        activities,
        size,
        |activity| (activity.occurred_at, activity.key),
        |activity| activity,
    )))
}

/// The activities of one call, each valid by itself.
struct Batch {
    activities: Vec<NewActivity>,
    place: Place,
}

/// Where an activity stands in the body, for pointers into it.
#[derive(Clone, Copy)]
enum Place {
    Alone,
    InSequence,
}

impl<S: Send + Sync> FromRequest<S> for Batch {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let essence = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let batch = match essence.as_str() {
            "application/json" => Self::from_json(&read_bytes(request, state).await?)?,
            "application/x-ndjson" => Self::from_lines(&read_bytes(request, state).await?)?,
            _ => {
                return Err(Problem::new(
                    UNSUPPORTED_MEDIA_TYPE,
                    format!("Content-Type is {content_type:?}; send application/json or application/x-ndjson."),
                ));
            }
        };
        batch.validated()
    }
}

impl Batch {
    fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        let is_array = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        Ok(if is_array {
            Self {
                activities: parse(bytes)?,
                place: Place::InSequence,
            }
        } else {
            Self {
                activities: vec![parse(bytes)?],
                place: Place::Alone,
            }
        })
    }

    /// Lines become an array, so that pointers into it come out right.
    fn from_lines(bytes: &[u8]) -> Result<Self, Problem> {
        let mut array = vec![b'['];
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            if line.trim_ascii().is_empty() {
                continue;
            }
            serde_json::from_slice::<IgnoredAny>(line)
                .map_err(|error| Problem::new(MALFORMED_JSON, format!("Line {number} is not valid JSON: {error}.")))?;
            if array.len() > 1 {
                array.push(b',');
            }
            array.extend(line);
        }
        array.push(b']');
        Ok(Self {
            activities: parse(&array)?,
            place: Place::InSequence,
        })
    }

    fn validated(self) -> Result<Self, Problem> {
        let count = self.activities.len();
        if !(1..=MAX_BATCH).contains(&count) {
            return Err(Problem::field(
                "",
                format!("there are {count} activities; send 1 to {MAX_BATCH} at a time"),
            ));
        }
        let report = match self.place {
            Place::Alone => self.activities.iter().try_for_each(garde::Validate::validate),
            Place::InSequence => self.activities.validate(),
        };
        report.map_err(|report| {
            let mut faults = field_errors(&report);
            faults.truncate(MAX_FAULTS);
            Problem::fields(faults)
        })?;
        Ok(self)
    }
}

impl Place {
    /// An error about activities of this call, with pointers into its body.
    fn problem(self, error: ActivityError) -> Problem {
        let detail = error.to_string();
        let (code, faults) = match error {
            ActivityError::Invalid(faults) => (INVALID_BODY, faults),
            ActivityError::Conflict(faults) => (ACTIVITY_CONFLICT, faults),
            other => return other.into(),
        };
        let errors = faults.into_iter().take(MAX_FAULTS).map(|fault| self.point_at(fault));
        Problem::new(code, detail).with_errors(errors.collect())
    }

    fn point_at(self, fault: Fault) -> FieldError {
        let pointer = match self {
            Self::Alone => format!("/{}", fault.field),
            Self::InSequence => format!("/{}/{}", fault.index, fault.field),
        };
        FieldError {
            pointer,
            message: fault.message,
        }
    }
}

impl From<ActivityError> for Problem {
    fn from(error: ActivityError) -> Self {
        let detail = error.to_string();
        match error {
            ActivityError::NoSuchUser(_) => Self::new(NO_SUCH_USER, detail),
            ActivityError::Db(error) => error.into(),
            // Only a call that reports activities meets these, and it knows where they stand in its body.
            ActivityError::Invalid(_) | ActivityError::Conflict(_) => Place::InSequence.problem(error),
        }
    }
}
