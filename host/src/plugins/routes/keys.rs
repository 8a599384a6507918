//! `/plugin-keys` over HTTP: the trusted keys for signatures of plugins.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{PluginKeysRead, PluginKeysWrite, SteppedUp};
use crate::http::{Body, Page, PageParams, Params, Path, Problem};
use crate::plugins::service::PluginService;
use crate::plugins::signatures::PluginKey;
use crate::text::legible;

pub(super) fn router() -> OpenApiRouter<PluginService> {
    OpenApiRouter::new()
        .routes(routes!(trust, list))
        .routes(routes!(get, revoke))
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "name": "Ada's release key",
    "publicKey": "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3",
}))]
struct NewPluginKey {
    /// The owner of the key, as shown in receipts
    #[garde(length(chars, min = 1, max = 100), custom(legible))]
    name: String,
    /// The line that begins with RW, or the whole .pub file
    #[garde(length(bytes, min = 1, max = 1024))]
    public_key: String,
}

/// Trust a minisign key. Its signatures are valid from then on.
#[utoipa::path(
    post, path = "/plugin-keys", tag = "plugins", security(("bearer" = ["plugin-keys:write"])),
    request_body = NewPluginKey,
    responses((status = 201, body = PluginKey, headers(("Location" = String)))),
    extensions(("x-problems" = json!(["step-up-required", "plugin-key-taken"]))),
)]
async fn trust(
    State(service): State<PluginService>,
    PluginKeysWrite(principal): PluginKeysWrite,
    _: SteppedUp,
    Body(new): Body<NewPluginKey>,
) -> Result<impl IntoResponse, Problem> {
    let key = service.trust_key(&new.name, &new.public_key, principal.id()).await?;
    let location = [(header::LOCATION, format!("/plugin-keys/{}", key.key_id))];
    Ok((StatusCode::CREATED, location, axum::Json(key)))
}

/// List all keys, including revoked ones, newest first.
#[utoipa::path(
    get, path = "/plugin-keys", tag = "plugins", security(("bearer" = ["plugin-keys:read"])),
    params(PageParams),
    responses((status = 200, body = Page<PluginKey>)),
)]
async fn list(
    State(service): State<PluginService>,
    _: PluginKeysRead,
    Params(page): Params<PageParams>,
) -> Result<axum::Json<Page<PluginKey>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let keys = service.keys(after, size).await?;
    Ok(axum::Json(Page::new(keys, size, |key| key.id, |key| key)))
}

/// Get a key.
#[utoipa::path(
    get, path = "/plugin-keys/{keyId}", tag = "plugins", security(("bearer" = ["plugin-keys:read"])),
    params(("keyId" = String, Path)),
    responses((status = 200, body = PluginKey)),
    extensions(("x-problems" = json!(["no-such-plugin-key"]))),
)]
async fn get(
    State(service): State<PluginService>,
    _: PluginKeysRead,
    Path(key_id): Path<String>,
) -> Result<axum::Json<PluginKey>, Problem> {
    Ok(axum::Json(service.key(&key_id).await?))
}

/// Revoke a key. Versions that it signed continue to run, but no longer have a valid signature.
#[utoipa::path(
    delete, path = "/plugin-keys/{keyId}", tag = "plugins", security(("bearer" = ["plugin-keys:write"])),
    params(("keyId" = String, Path)),
    responses((status = 204)),
    extensions(("x-problems" = json!(["no-such-plugin-key"]))),
)]
async fn revoke(
    State(service): State<PluginService>,
    PluginKeysWrite(principal): PluginKeysWrite,
    Path(key_id): Path<String>,
) -> Result<StatusCode, Problem> {
    service.revoke_key(&key_id, principal.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}
