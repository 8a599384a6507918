//! `/grants` over HTTP: single grants and their fulfilment.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::{AuditRead, FulfilmentsWrite, Principal, Scope};
use crate::claims::error::ClaimError;
use crate::claims::grants::GrantDetail;
use crate::claims::model::Status;
use crate::claims::service::Claims;
use crate::claims::store::grants::GrantFilter;
use crate::clock::Timestamp;
use crate::directory::{ExternalId, UserRef};
use crate::fulfilments::{Acknowledgement, FulfilmentState};
use crate::http::{Body, Page, PageParams, Params, Path, Problem};

pub(super) fn router() -> OpenApiRouter<Claims> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(acknowledge))
}

/// Filters for grants.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only grants in this state; FAILED ones need an operator
    fulfilment: Option<FulfilmentState>,
    /// GRANTED leaves out reversed grants
    request_status: Option<Status>,
    event_id: Option<Uuid>,
    user_id: Option<Uuid>,
    /// The user by the external id, instead of `userId`
    #[param(value_type = Option<String>)]
    external_user_id: Option<ExternalId>,
    /// Granted at or after this time
    from: Option<Timestamp>,
    /// Granted before this time
    to: Option<Timestamp>,
}

/// List the grants of all users, newest first.
#[utoipa::path(
    get, path = "/grants", tag = "grants", security(("bearer" = ["audit:read"])),
    params(PageParams, ListParams),
    responses((status = 200, body = Page<GrantDetail>)),
)]
async fn list(
    State(claims): State<Claims>,
    _: AuditRead,
    Params(page): Params<PageParams>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<GrantDetail>>, Problem> {
    let user = UserRef::of_filters(params.user_id, params.external_user_id)?;
    let filter = GrantFilter {
        fulfilment: params.fulfilment,
        request_status: params.request_status,
        event_id: params.event_id,
        user_id: claims.directory.filter(user).await?,
        from: params.from,
        to: params.to,
    };
    let (size, after) = (page.size()?, page.after()?);
    let grants = claims.grants.list(filter, after, size).await?;
    Ok(axum::Json(Page::new(grants, size, |grant| grant.id, |grant| grant)))
}

/// Get a grant. For a USER, the grants of others are not found.
#[utoipa::path(
    get, path = "/grants/{id}", tag = "grants", security(("bearer" = []), ("bearer" = ["audit:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = GrantDetail)),
    extensions(
        ("x-problems" = json!(["no-such-grant", "sealing-key-missing"])),
    ),
)]
async fn get(
    State(claims): State<Claims>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<GrantDetail>, Problem> {
    let mut grant = claims.grants.get(id).await?;
    if !principal.is_or_has(grant.user_id, Scope::AuditRead) {
        return Err(ClaimError::NoGrant(id).into());
    }
    if !principal.has(Scope::AuditRead) {
        // The response of a webhook endpoint is for operators only.
        grant.reported_by = None;
    }
    if principal.is_user(grant.user_id) {
        claims.codes.show_grant(&mut grant).await?;
    }
    Ok(axum::Json(grant))
}

/// Acknowledge a grant: it was delivered, or its delivery failed.
///
/// From then on the response of a webhook endpoint does not change the fulfilment; only another acknowledgement does. The
/// same acknowledgement again changes nothing, so it is safe to repeat and takes no `Idempotency-Key`. A reversed grant can
/// be acknowledged, too.
#[utoipa::path(
    post, path = "/grants/{id}/acknowledgement", tag = "grants", security(("bearer" = ["fulfilments:write"])),
    params(("id" = Uuid, Path)),
    request_body = Acknowledgement,
    responses((status = 200, body = GrantDetail)),
    extensions(("x-problems" = json!(["no-such-grant"]))),
)]
async fn acknowledge(
    State(claims): State<Claims>,
    FulfilmentsWrite(principal): FulfilmentsWrite,
    Path(id): Path<Uuid>,
    Body(acknowledgement): Body<Acknowledgement>,
) -> Result<axum::Json<GrantDetail>, Problem> {
    let grant = claims.grants.acknowledge(id, acknowledgement, principal.id()).await?;
    Ok(axum::Json(grant))
}
