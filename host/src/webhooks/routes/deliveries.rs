//! `/webhook-endpoints/{id}/deliveries` over HTTP: the log, and sending again.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::{WebhooksRead, WebhooksWrite};
use crate::http::{Page, PageParams, Params, Path, Problem};
use crate::webhooks::model::{Delivery, DeliveryDetail, DeliveryStatus};
use crate::webhooks::service::WebhookService;

pub(super) fn router() -> OpenApiRouter<WebhookService> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(redrive))
        .routes(routes!(redrive_parked))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only deliveries in this status; PARKED deliveries need a redrive
    status: Option<DeliveryStatus>,
}

/// List an endpoint's deliveries, newest message first.
#[utoipa::path(
    get, path = "/webhook-endpoints/{id}/deliveries", tag = "webhook-endpoints", security(("bearer" = ["webhooks:read"])),
    params(("id" = Uuid, Path), PageParams, ListParams),
    responses((status = 200, body = Page<Delivery>)),
    extensions(("x-problems" = json!(["no-such-webhook-endpoint"]))),
)]
async fn list(
    State(service): State<WebhookService>,
    _: WebhooksRead,
    Path(id): Path<Uuid>,
    Params(page): Params<PageParams>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Delivery>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let deliveries = service.deliveries(id, params.status, after, size).await?;
    Ok(axum::Json(Page::new(
        deliveries,
        size,
        |delivery| delivery.message_id,
        |delivery| delivery,
    )))
}

/// Get a delivery with its message.
#[utoipa::path(
    get, path = "/webhook-endpoints/{id}/deliveries/{messageId}", tag = "webhook-endpoints", security(("bearer" = ["webhooks:read"])),
    params(("id" = Uuid, Path), ("messageId" = Uuid, Path, description = "The `webhook-id`")),
    responses((status = 200, body = DeliveryDetail)),
    extensions(
        ("x-problems" = json!(["no-such-webhook-endpoint", "no-such-delivery"])),
    ),
)]
async fn get(
    State(service): State<WebhookService>,
    _: WebhooksRead,
    Path((id, message_id)): Path<(Uuid, Uuid)>,
) -> Result<axum::Json<DeliveryDetail>, Problem> {
    Ok(axum::Json(service.delivery(id, message_id).await?))
}

/// Redrive a delivery: send it again, or immediately instead of later.
///
/// The delivery gets all its attempts again. The receiver sees the same `webhook-id`.
#[utoipa::path(
    post, path = "/webhook-endpoints/{id}/deliveries/{messageId}/redrive", tag = "webhook-endpoints",
    security(("bearer" = ["webhooks:write"])),
    params(("id" = Uuid, Path), ("messageId" = Uuid, Path, description = "The `webhook-id`")),
    responses((status = 200, body = DeliveryDetail)),
    extensions(
        ("x-problems" = json!(["no-such-webhook-endpoint", "no-such-delivery"])),
    ),
)]
async fn redrive(
    State(service): State<WebhookService>,
    WebhooksWrite(principal): WebhooksWrite,
    Path((id, message_id)): Path<(Uuid, Uuid)>,
) -> Result<axum::Json<DeliveryDetail>, Problem> {
    Ok(axum::Json(service.redrive(id, message_id, &principal).await?))
}

/// The result of a redrive.
#[derive(Debug, Serialize, ToSchema)]
struct Redriven {
    /// The number of deliveries
    redriven: usize,
}

/// Redrive all parked deliveries of an endpoint.
#[utoipa::path(
    post, path = "/webhook-endpoints/{id}/redrive", tag = "webhook-endpoints", security(("bearer" = ["webhooks:write"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Redriven)),
    extensions(("x-problems" = json!(["no-such-webhook-endpoint"]))),
)]
async fn redrive_parked(
    State(service): State<WebhookService>,
    WebhooksWrite(principal): WebhooksWrite,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<Redriven>, Problem> {
    let redriven = service.redrive_parked(id, &principal).await?;
    Ok(axum::Json(Redriven { redriven }))
}
