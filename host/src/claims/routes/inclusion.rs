//! The proofs that receipts are in the transparency log.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::Principal;
use crate::claims::service::Claims;
use crate::http::{Path, Problem};
use crate::transparency::InclusionProof;

pub(super) fn router() -> OpenApiRouter<Claims> {
    OpenApiRouter::new().routes(routes!(request)).routes(routes!(reversal))
}

/// Get the proof that the receipt of a reward request is in the transparency log.
///
/// A receipt is under a checkpoint about a minute after its decision; until then the answer is 409 `not-logged-yet`. Save the
/// proof and run `meed audit check proof.json --receipt receipt.json --keys receipt-keys.json`. For a USER, the receipts of
/// others are not found.
#[utoipa::path(
    get, path = "/reward-requests/{id}/inclusion", tag = "reward-requests", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = InclusionProof)),
    extensions(("x-problems" = json!(["no-such-reward-request", "not-decided", "not-logged-yet"]))),
)]
async fn request(
    State(claims): State<Claims>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<InclusionProof>, Problem> {
    Ok(axum::Json(claims.inclusion(&principal, id).await?))
}

/// Get the proof that the receipt of a reversal is in the transparency log, as for that of the reward request.
#[utoipa::path(
    get, path = "/reward-requests/{id}/reversal/inclusion", tag = "reward-requests", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = InclusionProof)),
    extensions(("x-problems" = json!(["no-such-reward-request", "no-such-reversal", "not-logged-yet"]))),
)]
async fn reversal(
    State(claims): State<Claims>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<InclusionProof>, Problem> {
    Ok(axum::Json(claims.reversal_inclusion(&principal, id).await?))
}
