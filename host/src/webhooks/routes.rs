//! `/webhook-endpoints` over HTTP; their deliveries in `deliveries`.

mod deliveries;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use garde::Validate;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::model::{Endpoint, EndpointSecret, EndpointState, NewEndpoint, Ping};
use super::service::{WebhookError, WebhookService};
use crate::auth::{FORBIDDEN, SteppedUpOrKey, WebhooksRead, WebhooksWrite};
use crate::http::extract::with_etag;
use crate::http::{Body, Code, IfMatch, Page, PageParams, Params, Path, Problem};

const NO_SUCH_ENDPOINT: Code = Code::new("no-such-webhook-endpoint", 404, "There is no such webhook endpoint");
const ENDPOINT_CHANGED: Code = Code::new(
    "webhook-endpoint-changed",
    412,
    "The endpoint changed since you read it",
);
const ENDPOINT_NAME_TAKEN: Code = Code::new("webhook-endpoint-name-taken", 409, "Another endpoint has the name");
const ENDPOINTS_FULL: Code = Code::new(
    "webhook-endpoints-full",
    409,
    "The maximum number of endpoints is reached",
);
const NO_SUCH_DELIVERY: Code = Code::new("no-such-delivery", 404, "There is no such delivery");

pub const CODES: &[Code] = &[
    NO_SUCH_ENDPOINT,
    ENDPOINT_CHANGED,
    ENDPOINT_NAME_TAKEN,
    ENDPOINTS_FULL,
    NO_SUCH_DELIVERY,
];

pub fn router(service: WebhookService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, replace, change, delete))
        .routes(routes!(rotate))
        .routes(routes!(ping))
        .merge(deliveries::router())
        .with_state(service)
}

/// Create an endpoint. It receives messages from now on.
///
/// The response contains the secret that messages are signed with. It is not shown again; `POST …/secret` makes a new one.
#[utoipa::path(
    post, path = "/webhook-endpoints", tag = "webhook-endpoints", security(("bearer" = ["webhooks:write"])),
    request_body = NewEndpoint,
    responses((status = 201, body = EndpointSecret, headers(("Location" = String), ("ETag" = String)))),
    extensions(("x-problems" = json!(["step-up-required", "webhook-endpoints-full", "webhook-endpoint-name-taken"]))),
)]
async fn create(
    State(service): State<WebhookService>,
    WebhooksWrite(principal): WebhooksWrite,
    _: SteppedUpOrKey,
    Body(new): Body<NewEndpoint>,
) -> Result<impl IntoResponse, Problem> {
    let created = service.create(new, principal.id()).await?;
    let location = [(header::LOCATION, format!("/webhook-endpoints/{}", created.endpoint.id))];
    Ok((
        StatusCode::CREATED,
        location,
        with_etag(created.endpoint.revision, created),
    ))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only the endpoint with this name
    #[param(example = "shop")]
    name: Option<String>,
}

/// List endpoints, newest first.
#[utoipa::path(
    get, path = "/webhook-endpoints", tag = "webhook-endpoints", security(("bearer" = ["webhooks:read"])),
    params(PageParams, ListParams),
    responses((status = 200, body = Page<Endpoint>)),
)]
async fn list(
    State(service): State<WebhookService>,
    _: WebhooksRead,
    Params(page): Params<PageParams>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Endpoint>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let endpoints = service.list(params.name, after, size).await?;
    Ok(axum::Json(Page::new(
        endpoints,
        size,
        |endpoint| endpoint.id,
        |endpoint| endpoint,
    )))
}

/// Get an endpoint.
#[utoipa::path(
    get, path = "/webhook-endpoints/{id}", tag = "webhook-endpoints", security(("bearer" = ["webhooks:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Endpoint, headers(("ETag" = String)))),
    extensions(("x-problems" = json!(["no-such-webhook-endpoint"]))),
)]
async fn get(
    State(service): State<WebhookService>,
    _: WebhooksRead,
    Path(id): Path<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    let endpoint = service.get(id).await?;
    Ok(with_etag(endpoint.revision, endpoint))
}

/// Replace an endpoint's name, URL, description and types. Its state and secret stay the same.
#[utoipa::path(
    put, path = "/webhook-endpoints/{id}", tag = "webhook-endpoints", security(("bearer" = ["webhooks:write"])),
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag of the version you read")),
    request_body = NewEndpoint,
    responses((status = 200, body = Endpoint, headers(("ETag" = String)))),
    extensions(
        ("x-problems" = json!(["no-such-webhook-endpoint", "webhook-endpoint-changed", "webhook-endpoint-name-taken", "revision-required"])),
    ),
)]
async fn replace(
    State(service): State<WebhookService>,
    WebhooksWrite(principal): WebhooksWrite,
    Path(id): Path<Uuid>,
    IfMatch(revision): IfMatch,
    Body(new): Body<NewEndpoint>,
) -> Result<impl IntoResponse, Problem> {
    let endpoint = service.replace(id, revision, new, &principal).await?;
    Ok(with_etag(endpoint.revision, endpoint))
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct EndpointChange {
    #[garde(skip)]
    #[schema(example = "PAUSED")]
    state: EndpointState,
}

/// Pause or resume an endpoint.
///
/// While it is PAUSED, messages wait; they are sent when it is ACTIVE again.
#[utoipa::path(
    patch, path = "/webhook-endpoints/{id}", tag = "webhook-endpoints", security(("bearer" = ["webhooks:write"])),
    params(("id" = Uuid, Path)),
    request_body = EndpointChange,
    responses((status = 200, body = Endpoint, headers(("ETag" = String)))),
    extensions(("x-problems" = json!(["no-such-webhook-endpoint"]))),
)]
async fn change(
    State(service): State<WebhookService>,
    WebhooksWrite(principal): WebhooksWrite,
    Path(id): Path<Uuid>,
    Body(change): Body<EndpointChange>,
) -> Result<impl IntoResponse, Problem> {
    let endpoint = service.set_state(id, change.state, &principal).await?;
    Ok(with_etag(endpoint.revision, endpoint))
}

/// Delete an endpoint. Its undelivered messages are discarded.
#[utoipa::path(
    delete, path = "/webhook-endpoints/{id}", tag = "webhook-endpoints", security(("bearer" = ["webhooks:write"])),
    params(
        ("id" = Uuid, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version you read; omit it to delete any version"),
    ),
    responses((status = 204)),
    extensions(
        ("x-problems" = json!(["no-such-webhook-endpoint", "webhook-endpoint-changed"])),
    ),
)]
async fn delete(
    State(service): State<WebhookService>,
    WebhooksWrite(principal): WebhooksWrite,
    Path(id): Path<Uuid>,
    revision: Option<IfMatch>,
) -> Result<StatusCode, Problem> {
    let revision = revision.and_then(|IfMatch(revision)| revision);
    service.delete(id, revision, &principal).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Create a new secret.
///
/// For a day messages are signed with the new and the previous secret, so that the receiver can change over. If a secret has
/// leaked, make a new one twice: only the last two sign.
#[utoipa::path(
    post, path = "/webhook-endpoints/{id}/secret", tag = "webhook-endpoints", security(("bearer" = ["webhooks:write"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = EndpointSecret, headers(("ETag" = String)))),
    extensions(("x-problems" = json!(["step-up-required", "no-such-webhook-endpoint"]))),
)]
async fn rotate(
    State(service): State<WebhookService>,
    WebhooksWrite(principal): WebhooksWrite,
    _: SteppedUpOrKey,
    Path(id): Path<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    let rotated = service.rotate(id, &principal).await?;
    Ok(with_etag(rotated.endpoint.revision, rotated))
}

/// Send a message of the type `webhook.ping` once, and return the result.
///
/// It is sent also to a paused endpoint, and is not listed among the deliveries.
#[utoipa::path(
    post, path = "/webhook-endpoints/{id}/ping", tag = "webhook-endpoints", security(("bearer" = ["webhooks:write"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Ping)),
    extensions(("x-problems" = json!(["no-such-webhook-endpoint"]))),
)]
async fn ping(
    State(service): State<WebhookService>,
    WebhooksWrite(principal): WebhooksWrite,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<Ping>, Problem> {
    Ok(axum::Json(service.ping(id, &principal).await?))
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        let detail = error.to_string();
        match error {
            WebhookError::NotFound(_) => Self::new(NO_SUCH_ENDPOINT, detail),
            WebhookError::Changed { .. } => Self::new(ENDPOINT_CHANGED, detail),
            WebhookError::NotYours { .. } => Self::new(FORBIDDEN, detail),
            WebhookError::NameTaken(_) => Self::new(ENDPOINT_NAME_TAKEN, detail),
            WebhookError::Full => Self::new(ENDPOINTS_FULL, detail),
            WebhookError::Url(_) => Self::field("/url", detail),
            WebhookError::NoDelivery { .. } => Self::new(NO_SUCH_DELIVERY, detail),
            WebhookError::Sealed(error) => error.into(),
            WebhookError::Db(error) => error.into(),
        }
    }
}
