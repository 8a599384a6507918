//! `/auth` over HTTP.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use garde::Validate;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::service::{AuthError, AuthService, NewAccount, TokenPair};
use super::{Caller, FORBIDDEN, INVALID_REFRESH_TOKEN, REFRESH_TOKEN_REUSED, UNAUTHENTICATED, WRONG_CREDENTIALS};
use crate::http::{Body, Problem};
use crate::problem::RATE_LIMITED;
use crate::users::User;

pub fn router(service: AuthService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .with_state(service)
}

/// Make an account. Anyone makes a USER; a `role` other than USER needs an ADMIN's access token.
#[utoipa::path(
    post, path = "/auth/register", tag = "auth", security((), ("bearer" = [])),
    request_body(content = NewAccount, examples(
        ("user" = (summary = "Make an account", value = json!({
            "email": "ada@example.com", "password": "correct horse battery",
        }))),
        ("invited" = (summary = "Accept an invitation", value = json!({
            "email": "ada@example.com", "password": "correct horse battery", "inviteCode": "7K3M9QXZ2B",
        }))),
        ("operator" = (summary = "As an ADMIN, make an operator", value = json!({
            "email": "ada@example.com", "password": "correct horse battery", "role": "OPERATOR",
        }))),
    )),
    responses((status = 201, body = User, headers(("Location" = String)))),
    extensions(
        ("x-roles" = json!(["PUBLIC"])),
        ("x-problems" = json!(["email-taken", "password-queue-full"])),
    ),
)]
async fn register(
    State(service): State<AuthService>,
    caller: Option<Caller>,
    Body(new): Body<NewAccount>,
) -> Result<impl IntoResponse, Problem> {
    let user = service.register(caller, new).await?;
    let location = [(header::LOCATION, format!("/users/{}", user.id))];
    Ok((StatusCode::CREATED, location, axum::Json(user)))
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Credentials {
    #[garde(length(bytes, max = 1024))]
    #[schema(format = Email, example = "ada@example.com", max_length = 1024)]
    email: String,
    #[garde(custom(short_enough))]
    #[schema(value_type = String, format = Password, example = "correct horse battery", max_length = 1024)]
    password: SecretString,
}

/// Log in. A wrong e-mail, a wrong password and a disabled account get the same answer after the same work.
#[utoipa::path(
    post, path = "/auth/login", tag = "auth",
    request_body = Credentials,
    responses((status = 200, body = TokenPair)),
    extensions(
        ("x-roles" = json!(["PUBLIC"])),
        ("x-problems" = json!(["wrong-credentials", "password-queue-full"])),
    ),
)]
async fn login(
    State(service): State<AuthService>,
    Body(credentials): Body<Credentials>,
) -> Result<axum::Json<TokenPair>, Problem> {
    let pair = service.login(&credentials.email, credentials.password).await?;
    Ok(axum::Json(pair))
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Refresh {
    #[garde(custom(short_enough))]
    #[schema(value_type = String, example = "pQ4J0mXh1s0m1xq3tV7n4k2a9c8b6d5e4f3g2h1i0jk", max_length = 1024)]
    refresh_token: SecretString,
}

/// Exchange a refresh token for a new pair. Each is good once: using one again ends its session.
#[utoipa::path(
    post, path = "/auth/refresh", tag = "auth",
    request_body = Refresh,
    responses((status = 200, body = TokenPair)),
    extensions(
        ("x-roles" = json!(["PUBLIC"])),
        ("x-problems" = json!(["invalid-refresh-token", "refresh-token-reused"])),
    ),
)]
async fn refresh(
    State(service): State<AuthService>,
    Body(body): Body<Refresh>,
) -> Result<axum::Json<TokenPair>, Problem> {
    Ok(axum::Json(service.refresh(body.refresh_token.expose_secret()).await?))
}

/// Log out: ends the session, its access token included.
#[utoipa::path(
    post, path = "/auth/logout", tag = "auth", security(("bearer" = [])),
    responses((status = 204)),
    extensions(("x-roles" = json!(["USER", "OPERATOR", "AUDITOR", "ADMIN"]))),
)]
async fn logout(State(service): State<AuthService>, caller: Caller) -> Result<StatusCode, Problem> {
    service.logout(caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn short_enough(secret: &SecretString, (): &()) -> garde::Result {
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
            AuthError::RoleNeedsLogin(_) => Self::new(UNAUTHENTICATED, detail),
            AuthError::RoleNeedsAdmin { .. } => Self::new(FORBIDDEN, detail),
            AuthError::WrongCredentials => Self::new(WRONG_CREDENTIALS, detail),
            AuthError::TooManyAttempts(limit) => Self::new(RATE_LIMITED, detail).retry_after(limit.retry_after),
            AuthError::InvalidRefreshToken => Self::new(INVALID_REFRESH_TOKEN, detail),
            AuthError::RefreshTokenReused => Self::new(REFRESH_TOKEN_REUSED, detail),
            AuthError::User(error) => error.into(),
            AuthError::Activity(error) => error.into(),
            error @ AuthError::Signing(_) => Self::internal(error),
            AuthError::Db(error) => error.into(),
        }
    }
}
