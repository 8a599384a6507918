//! `/rewards` over HTTP.

mod codes;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::error::RewardError;
use super::service::{NewReward, Reward, RewardRevision, RewardService};
use super::store::Filter;
use crate::auth::{RewardsRead, RewardsWrite};
use crate::http::extract::with_etag;
use crate::http::{Body, Code, IfMatch, Page, PageParams, Params, Path, Problem};
use crate::problem::RELEASE_REQUIRED;

const NO_SUCH_REWARD: Code = Code::new("no-such-reward", 404, "There is no such reward");
const REWARD_CHANGED: Code = Code::new("reward-changed", 412, "The reward changed since you read it");
const REWARD_IN_USE: Code = Code::new("reward-in-use", 409, "An event offers the reward");
const REWARD_NAME_TAKEN: Code = Code::new("reward-name-taken", 409, "Another reward has the name");
const STOCK_BELOW_GRANTED: Code = Code::new(
    "stock-below-granted",
    409,
    "The stock is below the number already granted",
);
const REWARD_WITHOUT_CODES: Code = Code::new("reward-without-codes", 409, "The reward has no codes");

pub const CODES: &[Code] = &[
    NO_SUCH_REWARD,
    REWARD_CHANGED,
    REWARD_IN_USE,
    REWARD_NAME_TAKEN,
    STOCK_BELOW_GRANTED,
    REWARD_WITHOUT_CODES,
];

pub fn router(service: RewardService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, replace, delete))
        .routes(routes!(revisions))
        .merge(codes::router())
        .with_state(service)
}

/// Create a reward.
#[utoipa::path(
    post, path = "/rewards", tag = "rewards", security(("bearer" = ["rewards:write"])),
    request_body = NewReward,
    responses((status = 201, body = Reward, headers(("Location" = String), ("ETag" = String)))),
    extensions(("x-problems" = json!(["reward-name-taken"]))),
)]
async fn create(
    State(service): State<RewardService>,
    RewardsWrite(principal): RewardsWrite,
    Body(new): Body<NewReward>,
) -> Result<impl IntoResponse, Problem> {
    let reward = service.create(new, principal.id()).await?;
    let location = [(header::LOCATION, format!("/rewards/{}", reward.id))];
    Ok((StatusCode::CREATED, location, with_etag(reward.revision, reward)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only rewards of this type
    #[serde(rename = "type")]
    #[param(example = "COUPON")]
    type_: Option<String>,
    /// Only the reward with this name
    #[param(example = "summer-coupon")]
    name: Option<String>,
}

/// List rewards, newest first.
#[utoipa::path(
    get, path = "/rewards", tag = "rewards", security(("bearer" = ["rewards:read"])),
    params(PageParams, ListParams),
    responses((status = 200, body = Page<Reward>)),
)]
async fn list(
    State(service): State<RewardService>,
    _: RewardsRead,
    Params(page): Params<PageParams>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Reward>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let filter = Filter {
        type_: params.type_,
        name: params.name,
    };
    let rewards = service.list(filter, after, size).await?;
    Ok(axum::Json(Page::new(
        rewards,
        size,
        |reward| reward.id,
        |reward| reward,
    )))
}

/// Get a reward.
#[utoipa::path(
    get, path = "/rewards/{id}", tag = "rewards", security(("bearer" = ["rewards:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Reward, headers(("ETag" = String)))),
    extensions(("x-problems" = json!(["no-such-reward"]))),
)]
async fn get(
    State(service): State<RewardService>,
    _: RewardsRead,
    Path(id): Path<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    let reward = service.get(id).await?;
    Ok(with_etag(reward.revision, reward))
}

/// Replace a reward.
///
/// `stock` is the total since the reward was first limited, so it cannot be lower than the number granted since then.
/// Grants made while the reward had no limit do not count. A reward with codes has no `stock` to set, and keeps `codes`.
#[utoipa::path(
    put, path = "/rewards/{id}", tag = "rewards", security(("bearer" = ["rewards:write"])),
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag of the version you read")),
    request_body = NewReward,
    responses((status = 200, body = Reward, headers(("ETag" = String)))),
    extensions(
        ("x-problems" = json!(["no-such-reward", "reward-changed", "reward-name-taken", "revision-required", "stock-below-granted", "release-required"])),
    ),
)]
async fn replace(
    State(service): State<RewardService>,
    RewardsWrite(principal): RewardsWrite,
    Path(id): Path<Uuid>,
    IfMatch(revision): IfMatch,
    Body(new): Body<NewReward>,
) -> Result<impl IntoResponse, Problem> {
    let reward = service.replace(id, revision, new, principal.id()).await?;
    Ok(with_etag(reward.revision, reward))
}

/// Delete a reward that no event offers. Existing grants stay in the history.
#[utoipa::path(
    delete, path = "/rewards/{id}", tag = "rewards", security(("bearer" = ["rewards:write"])),
    params(
        ("id" = Uuid, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version you read; omit it to delete any version"),
    ),
    responses((status = 204)),
    extensions(
        ("x-problems" = json!(["no-such-reward", "reward-changed", "reward-in-use"])),
    ),
)]
async fn delete(
    State(service): State<RewardService>,
    RewardsWrite(principal): RewardsWrite,
    Path(id): Path<Uuid>,
    revision: Option<IfMatch>,
) -> Result<StatusCode, Problem> {
    service
        .delete(id, revision.and_then(|IfMatch(revision)| revision), principal.id())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the revisions of a reward, also of a deleted one, newest first. A receipt names the revision that was given.
#[utoipa::path(
    get, path = "/rewards/{id}/revisions", tag = "rewards", security(("bearer" = ["rewards:read"])),
    params(("id" = Uuid, Path), PageParams),
    responses((status = 200, body = Page<RewardRevision>)),
    extensions(("x-problems" = json!(["no-such-reward"]))),
)]
async fn revisions(
    State(service): State<RewardService>,
    _: RewardsRead,
    Path(id): Path<Uuid>,
    Params(page): Params<PageParams>,
) -> Result<axum::Json<Page<RewardRevision>>, Problem> {
    let (size, before) = (page.size()?, page.after()?);
    let revisions = service.revisions(id, before, size).await?;
    Ok(axum::Json(Page::new(
        revisions,
        size,
        |revision| revision.revision,
        |revision| revision,
    )))
}

impl From<RewardError> for Problem {
    fn from(error: RewardError) -> Self {
        let detail = error.to_string();
        match error {
            RewardError::NotFound(_) => Self::new(NO_SUCH_REWARD, detail),
            RewardError::Changed { .. } => Self::new(REWARD_CHANGED, detail),
            RewardError::InUse(_) => Self::new(REWARD_IN_USE, detail),
            RewardError::NameTaken(_) => Self::new(REWARD_NAME_TAKEN, detail),
            RewardError::StockBelowGranted { .. } => Self::new(STOCK_BELOW_GRANTED, detail),
            RewardError::ReleaseRequired { event, .. } => Self::new(RELEASE_REQUIRED, detail).with("eventId", event),
            RewardError::Field { pointer, message } => Self::field(pointer, message),
            RewardError::WithoutCodes(_) => Self::new(REWARD_WITHOUT_CODES, detail),
            RewardError::DamagedCode(_) | RewardError::Failed(_) => Self::internal(error),
            RewardError::Sealed(error) => error.into(),
            RewardError::Db(error) => error.into(),
        }
    }
}
