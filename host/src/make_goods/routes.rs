//! `/events/{id}/make-goods` and `/make-goods` over HTTP.

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use garde::Validate;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::error::MakeGoodError;
use super::model::{Entry, MakeGood, NewMakeGood};
use super::service::MakeGoodService;
use super::state::EntryState;
use crate::auth::{FORBIDDEN, MakeGoodsApprove, MakeGoodsRead, MakeGoodsWrite, SteppedUp};
use crate::http::{Body, Code, Page, PageParams, Params, Path, Problem};
use crate::releases::SECOND_PERSON_REQUIRED;
use crate::text::legible;

const NO_SUCH_MAKE_GOOD: Code = Code::new("no-such-make-good", 404, "There is no such make-good or entry");
const MAKE_GOOD_OPEN: Code = Code::new("make-good-open", 409, "The event has an open make-good")
    .with_members(r#"{"makeGoodId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"}"#);
const MAKE_GOOD_STATE: Code =
    Code::new("make-good-state", 409, "The make-good is in another state").with_members(r#"{"state": "APPLIED"}"#);
const MAKE_GOOD_HASH: Code = Code::new("make-good-hash", 409, "The make-good is not what you approve")
    .with_members(r#"{"hash": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}"#);
const MAKE_GOOD_OUTDATED: Code = Code::new(
    "make-good-outdated",
    409,
    "The event is not as it was when the make-good was proposed",
);

pub const CODES: &[Code] = &[
    NO_SUCH_MAKE_GOOD,
    MAKE_GOOD_OPEN,
    MAKE_GOOD_STATE,
    MAKE_GOOD_HASH,
    MAKE_GOOD_OUTDATED,
];

pub fn router(service: MakeGoodService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get))
        .routes(routes!(entries))
        .routes(routes!(exclude))
        .routes(routes!(approve))
        .routes(routes!(withdraw))
        .with_state(service)
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = MakeGoodApproval)]
struct Approval {
    /// The `hash` of the make-good that you looked at
    #[garde(length(bytes, min = 1, max = 100))]
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    hash: String,
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = MakeGoodWithdrawal)]
struct Withdrawal {
    #[garde(length(chars, min = 1, max = 2000), custom(legible))]
    #[schema(example = "The new version is wrong as well", min_length = 1, max_length = 2000)]
    reason: String,
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = MakeGoodExclusion)]
struct Exclusion {
    #[garde(length(min = 1, max = 100))]
    #[schema(min_items = 1, max_items = 100)]
    entry_ids: Vec<Uuid>,
}

/// Propose what a wrong rule of an event is to be made good for.
///
/// The event's condition of now is asked again about each claim of the period, as of the arrival of the claim, with everything
/// that is known by now. Mend the event first. The answer is 202: a background task looks at the claims.
#[utoipa::path(
    post, path = "/events/{id}/make-goods", tag = "make-goods", security(("bearer" = ["make-goods:write"])),
    params(("id" = Uuid, Path)),
    request_body = NewMakeGood,
    responses((status = 202, body = MakeGood, headers(("Location" = String)))),
    extensions(("x-problems" = json!(["no-such-event", "make-good-open", "make-good-outdated"]))),
)]
async fn create(
    Shared(service): Shared<MakeGoodService>,
    MakeGoodsWrite(principal): MakeGoodsWrite,
    Path(id): Path<Uuid>,
    Body(new): Body<NewMakeGood>,
) -> Result<impl IntoResponse, Problem> {
    let make_good = service.create(id, new, &principal).await?;
    let location = [(header::LOCATION, format!("/make-goods/{}", make_good.id))];
    Ok((StatusCode::ACCEPTED, location, axum::Json(make_good)))
}

/// List the make-goods of an event, newest first.
#[utoipa::path(
    get, path = "/events/{id}/make-goods", tag = "make-goods", security(("bearer" = ["make-goods:read"])),
    params(("id" = Uuid, Path), PageParams),
    responses((status = 200, body = Page<MakeGood>)),
)]
async fn list(
    Shared(service): Shared<MakeGoodService>,
    _: MakeGoodsRead,
    Path(id): Path<Uuid>,
    Params(page): Params<PageParams>,
) -> Result<axum::Json<Page<MakeGood>>, Problem> {
    let (size, before) = (page.size()?, page.after()?);
    let make_goods = service.list(id, before, size).await?;
    Ok(axum::Json(Page::new(
        make_goods,
        size,
        |make_good| make_good.id,
        |make_good| make_good,
    )))
}

/// Get a make-good.
#[utoipa::path(
    get, path = "/make-goods/{id}", tag = "make-goods", security(("bearer" = ["make-goods:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = MakeGood)),
    extensions(("x-problems" = json!(["no-such-make-good"]))),
)]
async fn get(
    Shared(service): Shared<MakeGoodService>,
    _: MakeGoodsRead,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<MakeGood>, Problem> {
    Ok(axum::Json(service.get(id).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct EntryParams {
    /// Only entries in this state
    state: Option<EntryState>,
}

/// List the entries of a make-good: grants in the order in which their claims arrived, then reversals.
#[utoipa::path(
    get, path = "/make-goods/{id}/entries", tag = "make-goods", security(("bearer" = ["make-goods:read"])),
    params(("id" = Uuid, Path), PageParams, EntryParams),
    responses((status = 200, body = Page<Entry>)),
    extensions(("x-problems" = json!(["no-such-make-good"]))),
)]
async fn entries(
    Shared(service): Shared<MakeGoodService>,
    _: MakeGoodsRead,
    Path(id): Path<Uuid>,
    Params(page): Params<PageParams>,
    Params(params): Params<EntryParams>,
) -> Result<axum::Json<Page<Entry>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let entries = service.entries(id, params.state, after, size).await?;
    Ok(axum::Json(Page::new(entries, size, |entry| entry.id, |entry| entry)))
}

/// Take entries out of a proposal. Its hash changes, and you cannot approve it any more.
#[utoipa::path(
    post, path = "/make-goods/{id}/exclusions", tag = "make-goods", security(("bearer" = ["make-goods:write"])),
    params(("id" = Uuid, Path)),
    request_body = Exclusion,
    responses((status = 200, body = MakeGood)),
    extensions(("x-problems" = json!(["no-such-make-good", "make-good-state"]))),
)]
async fn exclude(
    Shared(service): Shared<MakeGoodService>,
    MakeGoodsWrite(principal): MakeGoodsWrite,
    Path(id): Path<Uuid>,
    Body(Exclusion { entry_ids }): Body<Exclusion>,
) -> Result<axum::Json<MakeGood>, Problem> {
    Ok(axum::Json(service.exclude(id, &entry_ids, &principal).await?))
}

/// Approve exactly what has this hash. Its authors cannot, and neither can a service key. A background task applies it.
#[utoipa::path(
    post, path = "/make-goods/{id}/approval", tag = "make-goods", security(("bearer" = ["make-goods:approve"])),
    params(("id" = Uuid, Path)),
    request_body = Approval,
    responses((status = 200, body = MakeGood)),
    extensions(("x-problems" = json!([
        "no-such-make-good", "make-good-state", "make-good-hash", "make-good-outdated", "second-person-required",
        "step-up-required", "no-such-event",
    ]))),
)]
async fn approve(
    Shared(service): Shared<MakeGoodService>,
    MakeGoodsApprove(principal): MakeGoodsApprove,
    _: SteppedUp,
    Path(id): Path<Uuid>,
    Body(Approval { hash }): Body<Approval>,
) -> Result<axum::Json<MakeGood>, Problem> {
    Ok(axum::Json(service.approve(id, hash, &principal).await?))
}

/// Withdraw a make-good of which nothing was applied yet.
#[utoipa::path(
    post, path = "/make-goods/{id}/withdrawal", tag = "make-goods", security(("bearer" = ["make-goods:write"])),
    params(("id" = Uuid, Path)),
    request_body = Withdrawal,
    responses((status = 200, body = MakeGood)),
    extensions(("x-problems" = json!(["no-such-make-good", "make-good-state"]))),
)]
async fn withdraw(
    Shared(service): Shared<MakeGoodService>,
    _: MakeGoodsWrite,
    Path(id): Path<Uuid>,
    Body(Withdrawal { reason }): Body<Withdrawal>,
) -> Result<axum::Json<MakeGood>, Problem> {
    Ok(axum::Json(service.withdraw(id, reason).await?))
}

impl From<MakeGoodError> for Problem {
    fn from(error: MakeGoodError) -> Self {
        let detail = error.to_string();
        match error {
            MakeGoodError::NotFound(_) | MakeGoodError::NoEntry(..) => Self::new(NO_SUCH_MAKE_GOOD, detail),
            MakeGoodError::Field { pointer, message } => Self::field(pointer, message),
            MakeGoodError::Open { other, .. } => Self::new(MAKE_GOOD_OPEN, detail).with("makeGoodId", other),
            MakeGoodError::State { is, .. } => Self::new(MAKE_GOOD_STATE, detail).with("state", is),
            MakeGoodError::OtherHash { is, .. } => Self::new(MAKE_GOOD_HASH, detail).with("hash", is),
            MakeGoodError::Outdated | MakeGoodError::Inactive => Self::new(MAKE_GOOD_OUTDATED, detail),
            MakeGoodError::OwnProposal | MakeGoodError::OwnClaim => Self::new(SECOND_PERSON_REQUIRED, detail),
            MakeGoodError::KeyCannotApprove | MakeGoodError::KeyWithoutPerson => Self::new(FORBIDDEN, detail),
            MakeGoodError::Json(_) => Self::internal(error),
            MakeGoodError::Event(error) => error.into(),
            MakeGoodError::Claim(error) => error.into(),
            MakeGoodError::Key(error) => error.into(),
            MakeGoodError::Db(error) => error.into(),
        }
    }
}
