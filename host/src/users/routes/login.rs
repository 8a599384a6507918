//! `/auth/register` and `/auth/login` over HTTP.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use garde::Validate;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{WRONG_CREDENTIALS, account, mails, second_factor};
use crate::auth::{FORBIDDEN, Principal, UNAUTHENTICATED, bounded_secret};
use crate::http::{Body, Problem};
use crate::problem::RATE_LIMITED;
use crate::users::{Login, LoginError, LoginService, NewAccount, User, UserError};

/// The paths that check passwords or create accounts; requests to them are limited by address.
pub const CREDENTIALS_PATHS: &[&str] = &[
    "/auth/register",
    "/auth/login",
    "/auth/password-reset",
    "/auth/step-up",
    "/auth/password-reset-mail",
    "/auth/email-confirmation-mail",
    "/auth/email-confirmation",
    "/users/me/password",
    "/auth/oidc/login",
    "/auth/oidc/callback",
    "/console/session/login",
];

pub fn router(service: LoginService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .merge(account::router())
        .merge(second_factor::router())
        .merge(mails::router())
        .with_state(service)
}

/// Create an account. Anyone can create a USER; other roles require an ADMIN's access token.
#[utoipa::path(
    post, path = "/auth/register", tag = "auth", security((), ("bearer" = [])),
    request_body(content = NewAccount, examples(
        ("user" = (summary = "Create an account", value = json!({
            "email": "ada@example.com", "password": "correct horse battery",
        }))),
        ("invited" = (summary = "Accept an invitation", value = json!({
            "email": "ada@example.com", "password": "correct horse battery", "inviteCode": "7K3M9QXZ2B",
        }))),
        ("operator" = (summary = "As an ADMIN, create an operator", value = json!({
            "email": "ada@example.com", "password": "correct horse battery", "role": "OPERATOR",
        }))),
    )),
    responses(
        (status = 201, body = User, headers(("Location" = String))),
        (status = 202, description = "With `auth.hide_registered_emails`: the account exists now or existed before"),
    ),
    extensions(
        ("x-problems" = json!(["email-taken", "password-queue-full", "step-up-required"])),
    ),
)]
async fn register(
    State(service): State<LoginService>,
    principal: Option<Principal>,
    Body(new): Body<NewAccount>,
) -> Result<Response, Problem> {
    let hides = service.hides_emails() && principal.is_none();
    let registered = service.register(principal, new).await;
    if hides && matches!(registered, Ok(_) | Err(LoginError::User(UserError::EmailTaken(_)))) {
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let user = registered?;
    let location = [(header::LOCATION, format!("/users/{}", user.id))];
    Ok((StatusCode::CREATED, location, axum::Json(user)).into_response())
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Credentials {
    #[garde(length(bytes, max = 1024))]
    #[schema(format = Email, example = "ada@example.com", max_length = 1024)]
    email: String,
    #[garde(custom(bounded_secret))]
    #[schema(value_type = String, format = Password, example = "correct horse battery", max_length = 1024)]
    password: SecretString,
    /// A code of the authenticator or a recovery code; required if the account has a second factor
    #[garde(inner(custom(bounded_secret)))]
    #[schema(value_type = Option<String>, example = "287082", max_length = 1024)]
    code: Option<SecretString>,
    /// The `deviceToken` of the last login on this device
    #[garde(inner(custom(bounded_secret)))]
    #[schema(value_type = Option<String>, max_length = 1024)]
    device_token: Option<SecretString>,
}

/// Log in. An unknown e-mail, a wrong password and a disabled account get the same response after the same time.
///
/// If the account has a second factor and the password is right, a login without `code` gets 401 `second-factor-required`:
/// send the same request with `code`.
#[utoipa::path(
    post, path = "/auth/login", tag = "auth",
    request_body = Credentials,
    responses((status = 200, body = Login)),
    extensions(
        ("x-problems" = json!([
            "wrong-credentials", "email-unconfirmed", "second-factor-required", "wrong-code", "password-queue-full",
            "sealing-key-missing"
        ])),
    ),
)]
async fn login(
    State(service): State<LoginService>,
    Body(credentials): Body<Credentials>,
) -> Result<axum::Json<Login>, Problem> {
    let Credentials {
        email,
        password,
        code,
        device_token,
    } = credentials;
    let login = service.login(&email, password, code, device_token).await?;
    Ok(axum::Json(login))
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        let detail = error.to_string();
        match error {
            LoginError::RoleNeedsLogin(_) => Self::new(UNAUTHENTICATED, detail),
            LoginError::RoleNeedsAdmin { .. } => Self::new(FORBIDDEN, detail),
            LoginError::WrongCredentials => Self::new(WRONG_CREDENTIALS, detail),
            LoginError::TooManyAttempts(limit) => Self::new(RATE_LIMITED, detail).retry_after(limit.retry_after),
            LoginError::User(error) => error.into(),
            LoginError::Auth(error) => error.into(),
            LoginError::Activity(error) => error.into(),
            LoginError::Db(error) => error.into(),
        }
    }
}
