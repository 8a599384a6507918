//! Serves the public keys over HTTP.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{JwkSet, Keyring, Keys};

/// Verifiers may cache the keys for five minutes, so a verifier may not know a new key for this long.
const CACHEABLE: &str = "public, max-age=300";

pub fn router(keys: Keys) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(access))
        .routes(routes!(receipt))
        .with_state(keys)
}

/// The keys that sign access tokens.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "auth",
    responses((status = 200, body = JwkSet, headers(("Cache-Control" = String)))),
)]
async fn access(State(keys): State<Keys>) -> impl IntoResponse {
    public(&keys.access)
}

/// The keys that sign receipts.
#[utoipa::path(
    get, path = "/.well-known/receipt-keys.json", tag = "reward-requests",
    responses((status = 200, body = JwkSet, headers(("Cache-Control" = String)))),
)]
async fn receipt(State(keys): State<Keys>) -> impl IntoResponse {
    public(&keys.receipt)
}

fn public(keyring: &Keyring) -> impl IntoResponse + use<> {
    ([(header::CACHE_CONTROL, CACHEABLE)], axum::Json(keyring.jwks()))
}
