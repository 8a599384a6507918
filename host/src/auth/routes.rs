//! `/auth/refresh` and `/auth/logout` over HTTP; `users` has `/auth/register` and `/auth/login`.

use axum::extract::State;
use axum::http::StatusCode;
use garde::Validate;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::service::{AuthError, AuthService, OpenSession, TokenPair};
use super::{FORBIDDEN, INVALID_REFRESH_TOKEN, NO_SUCH_SESSION, Principal, REFRESH_TOKEN_REUSED, STEP_UP_REQUIRED};
use crate::http::{Body, Page, PageParams, Params, Path, Problem};

pub fn router(service: AuthService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(sessions, end_sessions))
        .routes(routes!(end_session))
        .with_state(service)
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Refresh {
    #[garde(custom(bounded_secret))]
    #[schema(value_type = String, example = "pQ4J0mXh1s0m1xq3tV7n4k2a9c8b6d5e4f3g2h1i0jk", max_length = 1024)]
    refresh_token: SecretString,
}

/// Exchange a refresh token for a new pair. A refresh token is valid once; using it again ends its session.
#[utoipa::path(
    post, path = "/auth/refresh", tag = "auth",
    request_body = Refresh,
    responses((status = 200, body = TokenPair)),
    extensions(
        ("x-problems" = json!(["invalid-refresh-token", "refresh-token-reused"])),
    ),
)]
async fn refresh(
    State(service): State<AuthService>,
    Body(body): Body<Refresh>,
) -> Result<axum::Json<TokenPair>, Problem> {
    Ok(axum::Json(service.refresh(body.refresh_token.expose_secret()).await?))
}

/// Log out: ends the session and revokes its access token.
#[utoipa::path(
    post, path = "/auth/logout", tag = "auth", security(("bearer" = [])),
    responses((status = 204)),
)]
async fn logout(State(service): State<AuthService>, principal: Principal) -> Result<StatusCode, Problem> {
    let (user_id, session_id) = principal.require_session()?;
    service.logout(user_id, session_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List your sessions, newest first: each is a login that has not ended.
#[utoipa::path(
    get, path = "/users/me/sessions", tag = "auth", security(("bearer" = [])),
    params(PageParams),
    responses((status = 200, body = Page<OpenSession>)),
)]
async fn sessions(
    State(service): State<AuthService>,
    principal: Principal,
    Params(page): Params<PageParams>,
) -> Result<axum::Json<Page<OpenSession>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let sessions = service.sessions(principal.require_session()?, after, size).await?;
    Ok(axum::Json(Page::new(
        sessions,
        size,
        |session| session.id,
        |session| session,
    )))
}

/// End all your sessions, also the current one.
#[utoipa::path(
    delete, path = "/users/me/sessions", tag = "auth", security(("bearer" = [])),
    responses((status = 204)),
)]
async fn end_sessions(State(service): State<AuthService>, principal: Principal) -> Result<StatusCode, Problem> {
    let (user_id, _) = principal.require_session()?;
    service.end_sessions(user_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End one of your sessions.
#[utoipa::path(
    delete, path = "/users/me/sessions/{id}", tag = "auth", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 204)),
    extensions(("x-problems" = json!(["no-such-session"]))),
)]
async fn end_session(
    State(service): State<AuthService>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    let (user_id, _) = principal.require_session()?;
    service.end_session(user_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Bounds the work that a secret from outside can cause.
pub fn bounded_secret(secret: &SecretString, (): &()) -> garde::Result {
    let bytes = secret.expose_secret().len();
    if bytes <= 1024 {
        Ok(())
    } else {
        Err(garde::Error::new(format!("has {bytes} bytes; at most 1024 are read")))
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let detail = error.to_string();
        match error {
            AuthError::NoSession | AuthError::NeedsPerson => Self::new(FORBIDDEN, detail),
            AuthError::NoSuchSession(_) => Self::new(NO_SUCH_SESSION, detail),
            AuthError::InvalidRefreshToken => Self::new(INVALID_REFRESH_TOKEN, detail),
            AuthError::RefreshTokenReused => Self::new(REFRESH_TOKEN_REUSED, detail),
            AuthError::StepUpRequired(_) => Self::new(STEP_UP_REQUIRED, detail),
            error @ AuthError::Signing(_) => Self::internal(error),
            AuthError::Db(error) => error.into(),
        }
    }
}
