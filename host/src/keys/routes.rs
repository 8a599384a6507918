//! Serves the public keys over HTTP.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{JwkSet, Keyring, Keys, SealError};
use crate::problem::{Problem, SEALING_KEY_MISSING};

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

impl From<SealError> for Problem {
    fn from(error: SealError) -> Self {
        match &error {
            SealError::KeyMissing { id, .. } => {
                // The path is for the operator only.
                tracing::error!(%error, "sealing key missing");
                let detail = format!(
                    "A secret is sealed with the key {id}, which this server does not have. The operator must restore its \
                     file, sealing-….pem, to the key directory."
                );
                Self::new(SEALING_KEY_MISSING, detail).retry_after(60)
            }
            SealError::Damaged(_) | SealError::Failed(_) | SealError::Keys(_) => Self::internal(error),
        }
    }
}
