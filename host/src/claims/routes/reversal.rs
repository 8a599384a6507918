//! Reversals over HTTP: `/reward-requests/{id}/reversal`.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::{Principal, ReversalsWrite};
use crate::claims::access::require_own;
use crate::claims::error::ClaimError;
use crate::claims::receipt::SignedReversal;
use crate::claims::reversal::Reversal;
use crate::claims::service::Claims;
use crate::http::{Body, Path, Problem};
use crate::text::legible;

pub(super) fn router() -> OpenApiRouter<Claims> {
    OpenApiRouter::new()
        .routes(routes!(reverse, reversal))
        .routes(routes!(reversal_receipt))
}

/// The reason of a reversal.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewReversal {
    /// The user can see it
    #[garde(length(chars, min = 1, max = 500), custom(says_something), custom(legible))]
    #[schema(example = "Bought and returned", min_length = 1, max_length = 500)]
    reason: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn says_something(text: &str, (): &()) -> garde::Result {
    if text.trim().is_empty() {
        return Err(garde::Error::new("is blank; give the reason of the reversal"));
    }
    Ok(())
}

/// Reverse a grant. What it used is free again: the user's slot in the period, the stock of its rewards, the budget.
///
/// A request can be reversed once. A second reversal changes nothing and is 409 `already-reversed` with the `reversalId`, so
/// a reversal whose response was lost is safe to repeat; it takes no `Idempotency-Key`.
#[utoipa::path(
    post, path = "/reward-requests/{id}/reversal", tag = "reward-requests", security(("bearer" = ["reversals:write"])),
    params(("id" = Uuid, Path)),
    request_body = NewReversal,
    responses((status = 201, body = Reversal, headers(("Location" = String)))),
    extensions(
        ("x-problems" = json!(["no-such-reward-request", "already-reversed", "not-granted"])),
    ),
)]
async fn reverse(
    State(claims): State<Claims>,
    ReversalsWrite(principal): ReversalsWrite,
    Path(id): Path<Uuid>,
    Body(new): Body<NewReversal>,
) -> Result<impl IntoResponse, Problem> {
    let reversal = claims.reversals.reverse(id, &new.reason, principal.id()).await?;
    let location = [(header::LOCATION, format!("/reward-requests/{id}/reversal"))];
    Ok((StatusCode::CREATED, location, axum::Json(reversal)))
}

/// Get the reversal of a reward request. For a USER, the requests of others are not found.
#[utoipa::path(
    get, path = "/reward-requests/{id}/reversal", tag = "reward-requests",
    security(("bearer" = []), ("bearer" = ["claims:read"]), ("bearer" = ["audit:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Reversal)),
    extensions(
        ("x-problems" = json!(["no-such-reward-request", "no-such-reversal"])),
    ),
)]
async fn reversal(
    State(claims): State<Claims>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<Reversal>, Problem> {
    let receipt = signed(&claims, &principal, id).await?.receipt;
    let receipt = receipt.ok_or(ClaimError::NoReversal(id))?;
    Ok(axum::Json(receipt.into()))
}

/// Get the signed receipt of a reversal.
///
/// Save it and run `meed replay reversal.json`, which checks the signature. For a USER, the requests of others are not
/// found.
#[utoipa::path(
    get, path = "/reward-requests/{id}/reversal/receipt", tag = "reward-requests",
    security(("bearer" = []), ("bearer" = ["claims:read"]), ("bearer" = ["audit:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = SignedReversal)),
    extensions(
        ("x-problems" = json!(["no-such-reward-request", "no-such-reversal"])),
    ),
)]
async fn reversal_receipt(
    State(claims): State<Claims>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<SignedReversal>, Problem> {
    Ok(axum::Json(signed(&claims, &principal, id).await?))
}

async fn signed(claims: &Claims, principal: &Principal, id: Uuid) -> Result<SignedReversal, Problem> {
    let (user_id, signed) = claims.reversals.find(id).await?;
    require_own(principal, user_id, id)?;
    signed.ok_or_else(|| ClaimError::NoReversal(id).into())
}
