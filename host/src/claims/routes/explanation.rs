//! Explanations over HTTP: `/reward-requests/{id}/explanation` and `/events/{id}/explain`.

use axum::extract::State;
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::{Principal, Scope};
use crate::claims::explanation::Explanation;
use crate::claims::service::Claims;
use crate::clock::Timestamp;
use crate::directory::ExternalId;
use crate::http::{Body, Path, Problem};

pub(super) fn router() -> OpenApiRouter<Claims> {
    OpenApiRouter::new()
        .routes(routes!(explanation))
        .routes(routes!(explain))
}

/// Whose claim to explain, and as of when.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"userId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77", "asOf": "2026-03-01T12:00:00Z"}))]
struct ExplanationRequest {
    /// The user that staff or a service key asks about. A user omits it
    #[garde(skip)]
    #[schema(nullable = false)]
    user_id: Option<Uuid>,
    /// The same by the external id, instead of `userId`
    #[garde(skip)]
    #[schema(nullable = false)]
    external_user_id: Option<ExternalId>,
    /// What happened after this instant does not count; the default is now. Needs `audit:read`
    #[garde(skip)]
    as_of: Option<Timestamp>,
    /// What was recorded after this instant does not count; the default, and the latest, is now. Needs `audit:read`
    #[garde(skip)]
    known_by: Option<Timestamp>,
}

/// Explain a reward request: the reasons, the facts of its receipt in words, and what would have led to another decision.
///
/// The facts are those of the receipt and are not read again. Counterfactuals are found by running the condition on
/// nearby facts, in a bounded number of runs; each of them was run. With `audit:read` the answer has `details`, and the
/// counterfactuals of granted and held claims, too. For a USER, the requests of others are not found.
#[utoipa::path(
    get, path = "/reward-requests/{id}/explanation", tag = "reward-requests", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Explanation)),
    extensions(
        ("x-problems" = json!(["no-such-reward-request", "not-decided", "receipt-erased"])),
    ),
)]
async fn explanation(
    State(claims): State<Claims>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<Explanation>, Problem> {
    Ok(axum::Json(claims.explain_request(&principal, id).await?))
}

/// Explain how a claim would be decided now; with `audit:read`, how one of a user at any instant. Nothing is stored.
///
/// The facts, the event and what counts at another instant are those of `GET /events/{id}/progress`.
#[utoipa::path(
    post, path = "/events/{id}/explain", tag = "events",
    security(("bearer" = ["claims:read"]), ("bearer" = ["audit:read"])),
    params(("id" = Uuid, Path)),
    request_body = ExplanationRequest,
    responses((status = 200, body = Explanation)),
    extensions(
        ("x-problems" = json!(["sealing-key-missing", "no-such-event", "facts-timeout"])),
    ),
)]
async fn explain(
    State(claims): State<Claims>,
    principal: Principal,
    Path(id): Path<Uuid>,
    Body(asked): Body<ExplanationRequest>,
) -> Result<axum::Json<Explanation>, Problem> {
    let principal = principal.require_either(Scope::ClaimsRead, Scope::AuditRead)?;
    let named = (asked.user_id, asked.external_user_id.as_ref());
    let instants = (asked.as_of, asked.known_by);
    Ok(axum::Json(claims.explain_event(&principal, named, id, instants).await?))
}
