//! Claims over HTTP: `/reward-requests`, the three paths under `/events` that evaluate, and the one under `/plugins` that
//! reports usage.

mod explanation;
mod grants;
mod inclusion;
mod reversal;
mod review;
mod streams;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use garde::Validate;
use serde::Deserialize;
use utoipa::openapi::HttpMethod;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::error::ClaimError;
use super::model::{ClaimAnswer, EventProgress, IdempotencyKey, RewardRequest, Status};
use super::receipt::SignedReceipt;
use super::service::Claims;
use super::store::Filter;
use super::usage::PluginUsage;
use crate::auth::{AuditRead, ClaimsRead, ClaimsWrite, FORBIDDEN, PluginsRead, Principal, Scope};
use crate::clock::Timestamp;
use crate::directory::{ExternalId, UserRef};
use crate::http::prefer;
use crate::http::{Body, Code, Page, PageParams, Params, Path, Problem};
use crate::problem::{FACTS_COMPACTED, INVALID_PARAMETER, UNAVAILABLE};

const NO_SUCH_REQUEST: Code = Code::new("no-such-reward-request", 404, "There is no such reward request");
const ALREADY_GRANTED: Code = Code::new("already-granted", 409, "Already granted in this period");
const KEY_REUSED: Code = Code::new(
    "idempotency-key-reused",
    422,
    "The Idempotency-Key was used for another claim",
);
const FACTS_TIMEOUT: Code = Code::new("facts-timeout", 503, "The facts of the user could not be read in time");
const FACTS_TIMEOUT_DETAIL: &str = "Reading the facts of your claim took too long, because there are too many activities \
    in its window. Nothing was stored; try again later.";
const CONDITION_FAILED: Code = Code::new("condition-failed", 503, "The condition could not be evaluated");
const CLAIM_PENDING: Code = Code::new("claim-pending", 409, "Another claim of yours on the event is pending")
    .with_members(r#"{"rewardRequestId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"}"#);
const TOO_MANY_PENDING: Code = Code::new("too-many-pending-claims", 429, "Too many of your claims are pending");
const QUEUE_FULL: Code = Code::new("claim-queue-full", 503, "The queue of pending claims is full");
const RECEIPT_ERASED: Code = Code::new("receipt-erased", 410, "The content of the receipt was erased");
const NOT_DECIDED: Code = Code::new("not-decided", 409, "The reward request is not decided yet");

const ALREADY_REVERSED: Code = Code::new("already-reversed", 409, "Already reversed")
    .with_members(r#"{"reversalId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"}"#);
const NOT_GRANTED: Code = Code::new("not-granted", 409, "There is no grant to reverse");
const CLAIM_HELD: Code = Code::new(
    "claim-held",
    409,
    "Another claim of yours on the event is held for a review",
)
.with_members(r#"{"rewardRequestId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"}"#);
const ALREADY_REVIEWED: Code =
    Code::new("already-reviewed", 409, "The claim was already reviewed").with_members(r#"{"outcome": "DENIED"}"#);
const NOT_HELD: Code = Code::new("not-held", 409, "The claim is not held for a review");
const NOT_GRANTABLE: Code =
    Code::new("not-grantable", 409, "The held claim cannot be granted now").with_members(r#"{"cause": "sold-out"}"#);
const NO_SUCH_GRANT: Code = Code::new("no-such-grant", 404, "There is no such grant");
const NO_SUCH_REVERSAL: Code = Code::new("no-such-reversal", 404, "The reward request was not reversed");

pub const CODES: &[Code] = &[
    NO_SUCH_REQUEST,
    ALREADY_GRANTED,
    KEY_REUSED,
    FACTS_TIMEOUT,
    CONDITION_FAILED,
    ALREADY_REVERSED,
    NOT_GRANTED,
    NO_SUCH_REVERSAL,
    NO_SUCH_GRANT,
    CLAIM_PENDING,
    TOO_MANY_PENDING,
    QUEUE_FULL,
    NOT_DECIDED,
    RECEIPT_ERASED,
    CLAIM_HELD,
    ALREADY_REVIEWED,
    NOT_HELD,
    NOT_GRANTABLE,
];

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const RESPOND_ASYNC: &str = "respond-async";

/// Seconds after which a client should poll for the decision on a pending claim.
const POLL_AFTER: &str = "1";

/// A second address of `POST /reward-requests`, beside the lists of events.
const CLAIM_UNDER_EVENTS: &str = "/events/requests";

pub fn router(claims: Claims) -> OpenApiRouter {
    let mut router = OpenApiRouter::new()
        .routes(routes!(claim, list))
        .routes(routes!(mine))
        .routes(routes!(get))
        .routes(routes!(receipt))
        .routes(routes!(progress))
        .routes(routes!(plugin_usage))
        .merge(explanation::router())
        .merge(grants::router())
        .merge(inclusion::router())
        .merge(reversal::router())
        .merge(review::router())
        .merge(streams::router())
        .route(CLAIM_UNDER_EVENTS, post(claim));
    let paths = &mut router.get_openapi_mut().paths;
    let documented = paths.paths.get("/reward-requests").and_then(|item| item.post.clone());
    if let Some(operation) = documented {
        paths.add_path_operation(CLAIM_UNDER_EVENTS, vec![HttpMethod::Post], operation);
    }
    router.with_state(claims)
}

/// The claim of a user.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
struct NewRewardRequest {
    #[garde(skip)]
    event_id: Uuid,
    /// The user that a service key claims for. A user omits it
    #[garde(skip)]
    #[schema(nullable = false)]
    user_id: Option<Uuid>,
    /// The same by the external id, instead of `userId`
    #[garde(skip)]
    #[schema(nullable = false)]
    external_user_id: Option<ExternalId>,
}

/// Claim an event's rewards for yourself; with a service key, for a user.
///
/// A claim creates a reward request: `GRANTED`, `REJECTED` with reasons and progress (you may claim again at any time),
/// `HELD` until a person has reviewed it (another claim on the event meanwhile is 409 `claim-held`), or `FAILED` (a fault of
/// the server; claim again). A repeat after a grant is 409 with the `rewardRequestId` and `grantIds` of
/// the grant, and with `nextAt` if the event recurs. A repeat that is rejected with the same reasons and progress is answered
/// with that request again, with 200; under an `Idempotency-Key` with 201.
///
/// With an `Idempotency-Key`, a repeat under the same key gets the stored response, byte for byte, marked by
/// `Idempotent-Replayed: true`. The response of a `FAILED` claim is not stored, so that the same key can try again.
///
/// With `Prefer: respond-async`, and always for an event with `respondAsync`, the claim is queued and answered with 202 and
/// a request in status `RECEIVED`. Its decision appears at `Location`. The rules apply as of the arrival of the claim, and
/// the claims of one event are decided in the order of their arrival. Another claim on the event meanwhile is answered with
/// the same request.
#[utoipa::path(
    post, path = "/reward-requests", tag = "reward-requests", security(("bearer" = ["claims:write"])),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
        ("Prefer" = Option<String>, Header, description = "`respond-async`: answer before the decision"),
    ),
    request_body = NewRewardRequest,
    responses(
        (
            status = 201, body = RewardRequest,
            headers(("Location" = String), ("Idempotent-Replayed" = Option<String>))
        ),
        (
            status = 200, body = RewardRequest, headers(("Location" = String)),
            description = "Rejected for the same reasons as before: this is your earlier request"
        ),
        (
            status = 202, body = RewardRequest,
            headers(("Location" = String), ("Retry-After" = String), ("Preference-Applied" = Option<String>)),
            description = "The claim is queued; its decision appears at `Location`"
        ),
    ),
    extensions(
        ("x-problems" = json!([
            "facts-timeout", "no-such-event", "already-granted", "idempotency-key-reused", "claim-pending", "claim-held",
            "too-many-pending-claims", "claim-queue-full", "sealing-key-missing",
        ])),
    ),
)]
async fn claim(
    State(claims): State<Claims>,
    ClaimsWrite(principal): ClaimsWrite,
    headers: HeaderMap,
    Body(new): Body<NewRewardRequest>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let wants_async = prefer::has(&headers, RESPOND_ASYNC);
    let named = (new.user_id, new.external_user_id.as_ref());
    let claimed = claims.claim(&principal, named, new.event_id, key, wants_async);
    Ok(match claimed.await? {
        ClaimAnswer::Decided(request) => {
            let location = [(header::LOCATION, path_of(request.id))];
            (StatusCode::CREATED, location, axum::Json(request)).into_response()
        }
        ClaimAnswer::Pending(request) => {
            let headers = [
                (header::LOCATION, path_of(request.id)),
                (header::RETRY_AFTER, POLL_AFTER.to_owned()),
            ];
            let mut response = (StatusCode::ACCEPTED, headers, axum::Json(request)).into_response();
            if wants_async {
                let applied = HeaderValue::from_static(RESPOND_ASYNC);
                response.headers_mut().insert(prefer::PREFERENCE_APPLIED, applied);
            }
            response
        }
        ClaimAnswer::RefusedAgain(request) => {
            let location = [(header::LOCATION, path_of(request.id))];
            (StatusCode::OK, location, axum::Json(request)).into_response()
        }
        ClaimAnswer::SoldOutAgain { request_id, response } => {
            let headers = [
                (header::LOCATION, path_of(request_id)),
                (header::CONTENT_TYPE, "application/json".to_owned()),
            ];
            (StatusCode::OK, headers, response).into_response()
        }
        ClaimAnswer::Replayed { request_id, response } => {
            let headers = [
                (header::LOCATION, path_of(request_id)),
                (header::CONTENT_TYPE, "application/json".to_owned()),
                (IDEMPOTENT_REPLAYED, "true".to_owned()),
            ];
            (StatusCode::CREATED, headers, response).into_response()
        }
    })
}

fn path_of(id: Uuid) -> String {
    format!("/reward-requests/{id}")
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::new(
            INVALID_PARAMETER,
            "The request has more than one Idempotency-Key; send one.",
        ));
    }
    let text = value.to_str().unwrap_or_default();
    text.parse()
        .map(Some)
        .map_err(|message: String| Problem::new(INVALID_PARAMETER, message))
}

/// Filters for reward requests.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListParams {
    event_id: Option<Uuid>,
    user_id: Option<Uuid>,
    /// The user by the external id, instead of `userId`
    #[param(value_type = Option<String>)]
    external_user_id: Option<ExternalId>,
    status: Option<Status>,
    /// Received at or after this time
    from: Option<Timestamp>,
    /// Received before this time
    to: Option<Timestamp>,
}

/// List the reward requests of all users, newest first.
#[utoipa::path(
    get, path = "/reward-requests", tag = "reward-requests", security(("bearer" = ["audit:read"])),
    params(PageParams, ListParams),
    responses((status = 200, body = Page<RewardRequest>)),
)]
async fn list(
    State(claims): State<Claims>,
    _: AuditRead,
    Params(page): Params<PageParams>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<RewardRequest>>, Problem> {
    let user = UserRef::of_filters(params.user_id, params.external_user_id)?;
    let filter = Filter {
        event_id: params.event_id,
        user_id: claims.directory.filter(user).await?,
        status: params.status,
        from: params.from,
        to: params.to,
    };
    page_of(&claims, filter, &page).await
}

/// Filters for your own reward requests.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct MineParams {
    event_id: Option<Uuid>,
    status: Option<Status>,
}

/// List your own reward requests, newest first.
#[utoipa::path(
    get, path = "/reward-requests/mine", tag = "reward-requests", security(("bearer" = ["claims:read"])),
    params(PageParams, MineParams),
    responses((status = 200, body = Page<RewardRequest>)),
    extensions(("x-problems" = json!(["sealing-key-missing"]))),
)]
async fn mine(
    State(claims): State<Claims>,
    ClaimsRead(principal): ClaimsRead,
    Params(page): Params<PageParams>,
    Params(params): Params<MineParams>,
) -> Result<axum::Json<Page<RewardRequest>>, Problem> {
    let (user_id, _) = principal.require_user()?;
    let filter = Filter {
        user_id: Some(user_id),
        event_id: params.event_id,
        status: params.status,
        ..Filter::default()
    };
    let axum::Json(mut page) = page_of(&claims, filter, &page).await?;
    claims.codes.show(&mut page.items).await?;
    Ok(axum::Json(page))
}

async fn page_of(
    claims: &Claims,
    filter: Filter,
    page: &PageParams,
) -> Result<axum::Json<Page<RewardRequest>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let requests = claims.requests.list(filter, after, size).await?;
    Ok(axum::Json(Page::new(
        requests,
        size,
        |request| request.id,
        |request| request,
    )))
}

/// Get a reward request. For a USER, the requests of others are not found.
#[utoipa::path(
    get, path = "/reward-requests/{id}", tag = "reward-requests",
    security(("bearer" = []), ("bearer" = ["claims:read"]), ("bearer" = ["audit:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = RewardRequest)),
    extensions(
        ("x-problems" = json!(["no-such-reward-request", "sealing-key-missing"])),
    ),
)]
async fn get(
    State(claims): State<Claims>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<RewardRequest>, Problem> {
    Ok(axum::Json(claims.request(&principal, id).await?))
}

/// Get the signed receipt of a reward request: everything that is needed to run the decision again.
///
/// Save it and run `meed replay receipt.json --plugin rule.wasm`. For a USER, the receipts of others are not found.
#[utoipa::path(
    get, path = "/reward-requests/{id}/receipt", tag = "reward-requests",
    security(("bearer" = []), ("bearer" = ["claims:read"]), ("bearer" = ["audit:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = SignedReceipt)),
    extensions(
        ("x-problems" = json!(["no-such-reward-request", "not-decided"])),
    ),
)]
async fn receipt(
    State(claims): State<Claims>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<SignedReceipt>, Problem> {
    Ok(axum::Json(claims.signed_receipt(&principal, id).await?))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ProgressParams {
    /// Whose progress staff or a service key asks for. A user omits it
    user_id: Option<Uuid>,
    /// The same by the external id, instead of `userId`
    #[param(value_type = Option<String>)]
    external_user_id: Option<ExternalId>,
    /// What happened after this instant does not count; the default is now. Needs `audit:read`
    as_of: Option<Timestamp>,
    /// What was recorded after this instant does not count; the default, and the latest, is now. Needs `audit:read`
    known_by: Option<Timestamp>,
}

/// Get your progress in an event, evaluated now; with `audit:read`, that of a user as of any instant. Nothing is stored.
///
/// With `asOf` or `knownBy`, facts and grants are those of that time. The event and its condition are as they are now. Its
/// stock, budget and group, and claims of the user that are not decided, do not count.
#[utoipa::path(
    get, path = "/events/{id}/progress", tag = "events",
    security(("bearer" = ["claims:read"]), ("bearer" = ["audit:read"])),
    params(("id" = Uuid, Path), ProgressParams),
    responses((status = 200, body = EventProgress)),
    extensions(
        ("x-problems" = json!([
            "sealing-key-missing", "no-such-event", "facts-timeout", "facts-compacted", "condition-failed",
        ])),
    ),
)]
async fn progress(
    State(claims): State<Claims>,
    principal: Principal,
    Path(id): Path<Uuid>,
    Params(params): Params<ProgressParams>,
) -> Result<axum::Json<EventProgress>, Problem> {
    let principal = principal.require_either(Scope::ClaimsRead, Scope::AuditRead)?;
    let named = (params.user_id, params.external_user_id.as_ref());
    let instants = (params.as_of, params.known_by);
    Ok(axum::Json(claims.progress(&principal, named, id, instants).await?))
}

/// Get the events that use a plugin version, and the cost of its evaluations.
#[utoipa::path(
    get, path = "/plugins/{name}/versions/{version}/usage", tag = "plugins", security(("bearer" = ["plugins:read"])),
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = PluginUsage)),
    extensions(("x-problems" = json!(["no-such-plugin"]))),
)]
async fn plugin_usage(
    State(claims): State<Claims>,
    _: PluginsRead,
    Path((name, version)): Path<(String, String)>,
) -> Result<axum::Json<PluginUsage>, Problem> {
    Ok(axum::Json(claims.usage.of(&name, &version).await?))
}

impl From<ClaimError> for Problem {
    fn from(error: ClaimError) -> Self {
        let detail = error.to_string();
        match error {
            ClaimError::NotFound(_) => Self::new(NO_SUCH_REQUEST, detail),
            ClaimError::NoGrant(_) => Self::new(NO_SUCH_GRANT, detail),
            ClaimError::AlreadyGranted {
                reward_request_id,
                grant_ids,
                next_at,
            } => {
                let problem = Self::new(ALREADY_GRANTED, detail)
                    .with("rewardRequestId", reward_request_id)
                    .with("grantIds", grant_ids);
                match next_at {
                    Some(next_at) => problem.with("nextAt", next_at),
                    None => problem,
                }
            }
            ClaimError::AlreadyReversed { reversal_id, .. } => {
                Self::new(ALREADY_REVERSED, detail).with("reversalId", reversal_id)
            }
            ClaimError::NotGranted { .. } => Self::new(NOT_GRANTED, detail),
            ClaimError::NoReversal(_) => Self::new(NO_SUCH_REVERSAL, detail),
            ClaimError::ClaimPending(id) => Self::new(CLAIM_PENDING, detail).with("rewardRequestId", id),
            ClaimError::ClaimHeld(id) => Self::new(CLAIM_HELD, detail).with("rewardRequestId", id),
            ClaimError::AlreadyReviewed { outcome, .. } => Self::new(ALREADY_REVIEWED, detail).with("outcome", outcome),
            ClaimError::NotHeld { .. } => Self::new(NOT_HELD, detail),
            ClaimError::NotGrantable { cause, .. } => Self::new(NOT_GRANTABLE, detail).with("cause", cause),
            ClaimError::TooManyPending(_) => Self::new(TOO_MANY_PENDING, detail).retry_after(1),
            ClaimError::QueueFull => Self::new(QUEUE_FULL, detail).retry_after(5),
            ClaimError::ReceiptErased => Self::new(RECEIPT_ERASED, detail),
            ClaimError::NotDecided { .. } => Self::new(NOT_DECIDED, detail),
            ClaimError::KeyReused(_) => Self::new(KEY_REUSED, detail),
            ClaimError::Disabled | ClaimError::OwnReview => Self::new(FORBIDDEN, detail),
            ClaimError::NotYetKnown(_) => Self::new(INVALID_PARAMETER, detail),
            ClaimError::ConditionFailed => Self::new(CONDITION_FAILED, detail).retry_after(5),
            ClaimError::TooManyExplanations
            | ClaimError::Contended
            | ClaimError::Overloaded
            | ClaimError::NoSlot
            | ClaimError::SlowFacts(_) => Self::new(UNAVAILABLE, detail).retry_after(1),
            ClaimError::Facts(crate::facts::FactError::Db(error)) if error.is_statement_timeout() => {
                Self::new(FACTS_TIMEOUT, FACTS_TIMEOUT_DETAIL).retry_after(60)
            }
            ClaimError::Facts(crate::facts::FactError::Compacted(_)) => Self::new(FACTS_COMPACTED, detail),
            ClaimError::Event(error) => error.into(),
            ClaimError::Plugin(error) => error.into(),
            ClaimError::Reward(error) => error.into(),
            ClaimError::Db(error) | ClaimError::Facts(crate::facts::FactError::Db(error)) => error.into(),
            ClaimError::ForeignReward(_)
            | ClaimError::Facts(_)
            | ClaimError::Receipt(_)
            | ClaimError::NoTerms(_)
            | ClaimError::StoredReceipt(_)
            | ClaimError::OutcomeUnknown
            | ClaimError::Json(_) => Self::internal(error),
        }
    }
}
