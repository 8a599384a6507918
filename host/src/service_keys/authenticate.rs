//! The layer that finds the principal of a request with a service key.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;

use super::service::{Checked, ServiceKeyService};
use super::token::PREFIX;
use crate::auth::{InvalidToken, Principal, bearer_token, set_principal};
use crate::http::limit::Subject;
use crate::http::peer;
use crate::problem::Problem;

/// Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(Arc<(ServiceKeyService, Vec<IpNet>)>);

impl Authenticator {
    /// `proxies`: the trusted ones, which name the client's address.
    pub fn new(service: ServiceKeyService, proxies: Vec<IpNet>) -> Self {
        Self(Arc::new((service, proxies)))
    }
}

/// Must be around [`crate::auth::authenticate`], which knows no service keys.
pub async fn authenticate(State(authenticator): State<Authenticator>, mut request: Request, next: Next) -> Response {
    let token = bearer_token(request.headers()).filter(|token| token.starts_with(PREFIX));
    if let Some(token) = token {
        let (service, proxies) = &*authenticator.0;
        let client = peer::client(request.extensions(), request.headers(), proxies);
        let checked = match service.check(token, client, &peer::name(client)).await {
            Ok(checked) => checked,
            Err(error) => return Problem::from(error).into_response(),
        };
        match checked {
            Some(Checked { holder, limit, until }) => {
                let extensions = request.extensions_mut();
                extensions.insert(Subject::with_limit(holder.id, limit));
                set_principal(extensions, Ok((Principal::ServiceKey(holder), until)));
            }
            None => set_principal(request.extensions_mut(), Err(InvalidToken { is_forged: true })),
        }
    }
    next.run(request).await
}
