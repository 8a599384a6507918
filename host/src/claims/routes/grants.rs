//! `/grants` over HTTP: what was given, and the word that it has arrived.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::{Auditor, Caller, Operator, Role};
use crate::claims::grants::GrantDetail;
use crate::claims::model::Status;
use crate::claims::service::{ClaimError, Claims};
use crate::claims::store::grants::GrantFilter;
use crate::clock::Timestamp;
use crate::fulfilments::{Acknowledgement, FulfilmentState};
use crate::http::{Body, Page, PageParams, Params, Path, Problem};

pub(super) fn router() -> OpenApiRouter<Claims> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(acknowledge))
}

/// Which grants a list shows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only grants in this state: FAILED ones wait for somebody
    fulfilment: Option<FulfilmentState>,
    /// GRANTED leaves out what was taken back
    request_status: Option<Status>,
    event_id: Option<Uuid>,
    user_id: Option<Uuid>,
    /// Granted at or after this instant
    from: Option<Timestamp>,
    /// Granted before this instant
    to: Option<Timestamp>,
}

/// List grants of everyone, newest first.
#[utoipa::path(
    get, path = "/grants", tag = "grants", security(("bearer" = [])),
    params(PageParams, ListParams),
    responses((status = 200, body = Page<GrantDetail>)),
    extensions(("x-roles" = json!(["OPERATOR", "AUDITOR", "ADMIN"]))),
)]
async fn list(
    State(service): State<Claims>,
    _: Auditor,
    Params(page): Params<PageParams>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<GrantDetail>>, Problem> {
    let filter = GrantFilter {
        fulfilment: params.fulfilment,
        request_status: params.request_status,
        event_id: params.event_id,
        user_id: params.user_id,
        from: params.from,
        to: params.to,
    };
    let (size, after) = (page.size()?, page.after()?);
    let grants = service.list_grants(filter, after, size).await?;
    Ok(axum::Json(Page::new(grants, size, |grant| grant.id, |grant| grant)))
}

/// Get a grant. A USER gets their own; others' are not found.
#[utoipa::path(
    get, path = "/grants/{id}", tag = "grants", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = GrantDetail)),
    extensions(
        ("x-roles" = json!(["USER", "OPERATOR", "AUDITOR", "ADMIN"])),
        ("x-problems" = json!(["no-such-grant"])),
    ),
)]
async fn get(
    State(service): State<Claims>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<GrantDetail>, Problem> {
    let mut grant = service.grant(id).await?;
    if caller.role == Role::User {
        if grant.user_id != caller.user_id {
            return Err(ClaimError::NoGrant(id).into());
        }
        // What a receiver answered is between it and the operators.
        grant.said_by = None;
    }
    Ok(axum::Json(grant))
}

/// Say what became of a grant: it was delivered, or it failed.
///
/// From then on no endpoint's answer changes it; only another acknowledgement does. The same again changes nothing, so it is
/// safe to repeat, and takes no `Idempotency-Key`. A grant that was taken back can be acknowledged, too.
#[utoipa::path(
    post, path = "/grants/{id}/acknowledgement", tag = "grants", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    request_body = Acknowledgement,
    responses((status = 200, body = GrantDetail)),
    extensions(("x-roles" = json!(["OPERATOR", "ADMIN"])), ("x-problems" = json!(["no-such-grant"]))),
)]
async fn acknowledge(
    State(service): State<Claims>,
    Operator(caller): Operator,
    Path(id): Path<Uuid>,
    Body(acknowledgement): Body<Acknowledgement>,
) -> Result<axum::Json<GrantDetail>, Problem> {
    let grant = service.acknowledge(id, acknowledgement, caller.user_id).await?;
    Ok(axum::Json(grant))
}
