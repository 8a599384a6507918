//! `/service-keys` over HTTP.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::model::{NewServiceKey, ServiceKey, ServiceKeySecret};
use super::service::{ServiceKeyError, ServiceKeyService};
use crate::auth::{ServiceKeysRead, ServiceKeysWrite, SteppedUp};
use crate::http::extract::with_etag;
use crate::http::{Body, Code, IfMatch, Page, PageParams, Params, Path, Problem};

const NO_SUCH_SERVICE_KEY: Code = Code::new("no-such-service-key", 404, "There is no such service key");
const SERVICE_KEY_NAME_TAKEN: Code = Code::new("service-key-name-taken", 409, "Another service key has the name");
const SERVICE_KEY_CHANGED: Code = Code::new("service-key-changed", 412, "The service key changed since you read it");
const SERVICE_KEY_REVOKED: Code = Code::new("service-key-revoked", 409, "The service key was revoked");

pub const CODES: &[Code] = &[
    NO_SUCH_SERVICE_KEY,
    SERVICE_KEY_NAME_TAKEN,
    SERVICE_KEY_CHANGED,
    SERVICE_KEY_REVOKED,
];

/// How long the secret before a rotation stays valid, if the request says nothing else.
const OVERLAP_SECONDS: u32 = 86_400;

pub fn router(service: ServiceKeyService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, replace, revoke))
        .routes(routes!(rotate))
        .with_state(service)
}

/// Create a service key. Only this response shows its secret.
#[utoipa::path(
    post, path = "/service-keys", tag = "service-keys", security(("bearer" = ["service-keys:write"])),
    request_body = NewServiceKey,
    responses((status = 201, body = ServiceKeySecret, headers(("Location" = String), ("ETag" = String)))),
    extensions(("x-problems" = json!(["step-up-required", "service-key-name-taken"]))),
)]
async fn create(
    State(service): State<ServiceKeyService>,
    ServiceKeysWrite(principal): ServiceKeysWrite,
    _: SteppedUp,
    Body(new): Body<NewServiceKey>,
) -> Result<impl IntoResponse, Problem> {
    let created = service.create(new, Some(principal.id())).await?;
    let location = [(header::LOCATION, format!("/service-keys/{}", created.key.id))];
    Ok((StatusCode::CREATED, location, with_etag(created.key.revision, created)))
}

/// List all service keys, including revoked ones, newest first.
#[utoipa::path(
    get, path = "/service-keys", tag = "service-keys", security(("bearer" = ["service-keys:read"])),
    params(PageParams),
    responses((status = 200, body = Page<ServiceKey>)),
)]
async fn list(
    State(service): State<ServiceKeyService>,
    _: ServiceKeysRead,
    Params(page): Params<PageParams>,
) -> Result<axum::Json<Page<ServiceKey>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let keys = service.list(after, size).await?;
    Ok(axum::Json(Page::new(keys, size, |key| key.id, |key| key)))
}

/// Get a service key.
#[utoipa::path(
    get, path = "/service-keys/{id}", tag = "service-keys", security(("bearer" = ["service-keys:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = ServiceKey, headers(("ETag" = String)))),
    extensions(("x-problems" = json!(["no-such-service-key"]))),
)]
async fn get(
    State(service): State<ServiceKeyService>,
    _: ServiceKeysRead,
    Path(id): Path<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    let key = service.get(id).await?;
    Ok(with_etag(key.revision, key))
}

/// Replace the settings of a service key. Its secret stays the same, and the change is valid at once.
#[utoipa::path(
    put, path = "/service-keys/{id}", tag = "service-keys", security(("bearer" = ["service-keys:write"])),
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag of the version you read")),
    request_body = NewServiceKey,
    responses((status = 200, body = ServiceKey, headers(("ETag" = String)))),
    extensions(("x-problems" = json!([
        "step-up-required", "no-such-service-key", "service-key-changed", "service-key-name-taken", "service-key-revoked",
        "revision-required",
    ]))),
)]
async fn replace(
    State(service): State<ServiceKeyService>,
    _: ServiceKeysWrite,
    _: SteppedUp,
    Path(id): Path<Uuid>,
    IfMatch(revision): IfMatch,
    Body(new): Body<NewServiceKey>,
) -> Result<impl IntoResponse, Problem> {
    let key = service.replace(id, revision, new).await?;
    Ok(with_etag(key.revision, key))
}

/// Revoke a service key. It is refused at once and for ever; the entry stays, because the audit log names it.
#[utoipa::path(
    delete, path = "/service-keys/{id}", tag = "service-keys", security(("bearer" = ["service-keys:write"])),
    params(("id" = Uuid, Path)),
    responses((status = 204)),
    extensions(("x-problems" = json!(["no-such-service-key"]))),
)]
async fn revoke(
    State(service): State<ServiceKeyService>,
    _: ServiceKeysWrite,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    service.revoke(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How to rotate a service key.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ServiceKeyRotation)]
struct Rotation {
    /// How long the previous secret stays valid: 0 to 30 days
    #[garde(range(max = 2_592_000))]
    #[serde(default = "overlap_seconds")]
    #[schema(example = 86400, default = 86400)]
    overlap_seconds: u32,
}

fn overlap_seconds() -> u32 {
    OVERLAP_SECONDS
}

/// Make a new secret for a service key. Only this response shows it; the previous one stays valid for a while.
#[utoipa::path(
    post, path = "/service-keys/{id}/rotation", tag = "service-keys", security(("bearer" = ["service-keys:write"])),
    params(("id" = Uuid, Path)),
    request_body = Rotation,
    responses((status = 200, body = ServiceKeySecret, headers(("ETag" = String)))),
    extensions(("x-problems" = json!(["step-up-required", "no-such-service-key", "service-key-revoked"]))),
)]
async fn rotate(
    State(service): State<ServiceKeyService>,
    _: ServiceKeysWrite,
    _: SteppedUp,
    Path(id): Path<Uuid>,
    Body(rotation): Body<Rotation>,
) -> Result<impl IntoResponse, Problem> {
    let overlap = Duration::from_secs(rotation.overlap_seconds.into());
    let rotated = service.rotate(id, overlap).await?;
    Ok(with_etag(rotated.key.revision, rotated))
}

impl From<ServiceKeyError> for Problem {
    fn from(error: ServiceKeyError) -> Self {
        let detail = error.to_string();
        match error {
            ServiceKeyError::NotFound(_) | ServiceKeyError::NoSuchName(_) => Self::new(NO_SUCH_SERVICE_KEY, detail),
            ServiceKeyError::NameTaken(_) => Self::new(SERVICE_KEY_NAME_TAKEN, detail),
            ServiceKeyError::Changed { .. } => Self::new(SERVICE_KEY_CHANGED, detail),
            ServiceKeyError::Ended(_) => Self::field("/expiresAt", detail),
            ServiceKeyError::Revoked(_) => Self::new(SERVICE_KEY_REVOKED, detail),
            ServiceKeyError::Db(error) => error.into(),
        }
    }
}
