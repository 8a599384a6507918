//! Reviews of held claims over HTTP: `/reward-requests/{id}/approval` and `/reward-requests/{id}/denial`.

use axum::extract::State;
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::ReviewsWrite;
use crate::claims::model::RewardRequest;
use crate::claims::review::ReviewOutcome;
use crate::claims::service::Claims;
use crate::http::{Body, Path, Problem};
use crate::text::legible;

pub(super) fn router() -> OpenApiRouter<Claims> {
    OpenApiRouter::new().routes(routes!(approve)).routes(routes!(deny))
}

/// The reason of an approval or a denial.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewReview {
    /// The user can see it
    #[garde(length(chars, min = 1, max = 500), custom(legible))]
    #[schema(example = "The invitees are a school class", min_length = 1, max_length = 500)]
    reason: String,
}

/// Approve a held claim. It is granted what the condition awarded, within the stock and budget of now.
///
/// A claim that cannot be granted now is 409 `not-grantable`, and `cause` says why; it stays HELD. The claim's receipt holds
/// what the condition knew. The same approval again changes nothing and has the same answer, so it is safe to repeat and
/// takes no `Idempotency-Key`. Any other review of a decided claim is 409 `already-reviewed`.
#[utoipa::path(
    post, path = "/reward-requests/{id}/approval", tag = "reward-requests", security(("bearer" = ["reviews:write"])),
    params(("id" = Uuid, Path)),
    request_body = NewReview,
    responses((status = 200, body = RewardRequest)),
    extensions(
        ("x-problems" = json!(["no-such-reward-request", "already-reviewed", "not-held", "not-grantable"])),
    ),
)]
async fn approve(
    State(claims): State<Claims>,
    ReviewsWrite(principal): ReviewsWrite,
    Path(id): Path<Uuid>,
    Body(new): Body<NewReview>,
) -> Result<axum::Json<RewardRequest>, Problem> {
    let by = principal.id();
    let request = claims
        .reviews
        .decide(id, ReviewOutcome::Approved, &new.reason, by)
        .await?;
    Ok(axum::Json(request))
}

/// Deny a held claim. It is rejected with the reason `review-denied`.
///
/// The same denial again changes nothing and has the same answer. Any other review of a decided claim is 409
/// `already-reviewed`.
#[utoipa::path(
    post, path = "/reward-requests/{id}/denial", tag = "reward-requests", security(("bearer" = ["reviews:write"])),
    params(("id" = Uuid, Path)),
    request_body = NewReview,
    responses((status = 200, body = RewardRequest)),
    extensions(
        ("x-problems" = json!(["no-such-reward-request", "already-reviewed", "not-held"])),
    ),
)]
async fn deny(
    State(claims): State<Claims>,
    ReviewsWrite(principal): ReviewsWrite,
    Path(id): Path<Uuid>,
    Body(new): Body<NewReview>,
) -> Result<axum::Json<RewardRequest>, Problem> {
    let by = principal.id();
    let request = claims
        .reviews
        .decide(id, ReviewOutcome::Denied, &new.reason, by)
        .await?;
    Ok(axum::Json(request))
}
