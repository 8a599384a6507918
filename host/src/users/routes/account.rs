//! Changing and resetting passwords over HTTP.

use axum::extract::State;
use axum::http::StatusCode;
use garde::Validate;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Principal, SteppedUp, UsersWrite, bounded_secret};
use crate::directory::UserRef;
use crate::http::{Body, Path, Problem};
use crate::users::{LoginService, Password, PasswordReset};

pub(super) fn router() -> OpenApiRouter<LoginService> {
    OpenApiRouter::new()
        .routes(routes!(change_password))
        .routes(routes!(permit_reset))
        .routes(routes!(reset_password))
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PasswordChange {
    #[garde(custom(bounded_secret))]
    #[schema(value_type = String, format = Password, example = "correct horse battery", max_length = 1024)]
    old_password: SecretString,
    #[garde(skip)]
    #[schema(value_type = String, format = Password, example = "staple a new battery", min_length = 8, max_length = 128)]
    new_password: Password,
}

/// Change your password. Your other sessions end.
#[utoipa::path(
    put, path = "/users/me/password", tag = "auth", security(("bearer" = [])),
    request_body = PasswordChange,
    responses((status = 204)),
    extensions(("x-problems" = json!(["password-queue-full", "no-email"]))),
)]
async fn change_password(
    State(service): State<LoginService>,
    principal: Principal,
    Body(change): Body<PasswordChange>,
) -> Result<StatusCode, Problem> {
    let user = principal.require_session()?;
    service
        .change_password(user, change.old_password, change.new_password)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Issue a token with which a user can set a new password once, within an hour.
///
/// Give it to the owner of the account over a safe channel; it is not shown again. `meed user reset-password` does the
/// same.
#[utoipa::path(
    post, path = "/users/{id}/password-reset", tag = "users", security(("bearer" = ["users:write"])),
    params(("id" = UserRef, Path)),
    responses((status = 201, body = PasswordReset)),
    extensions(("x-problems" = json!(["step-up-required", "no-such-user", "no-email"]))),
)]
async fn permit_reset(
    State(service): State<LoginService>,
    _: UsersWrite,
    _: SteppedUp,
    Path(user): Path<UserRef>,
) -> Result<(StatusCode, axum::Json<PasswordReset>), Problem> {
    Ok((StatusCode::CREATED, axum::Json(service.permit_reset(user).await?)))
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewPassword {
    #[garde(custom(bounded_secret))]
    #[schema(value_type = String, example = "AZmjsFweelGPXg1vLBued4Xl0mXh1s0m1xq3tV7n4k2a9c8b6d5e4f3g2h1i0jkA", max_length = 1024)]
    token: SecretString,
    #[garde(skip)]
    #[schema(value_type = String, format = Password, example = "staple a new battery", min_length = 8, max_length = 128)]
    new_password: Password,
}

/// Set a new password with a token of an ADMIN or of a mail. All sessions of the account end.
#[utoipa::path(
    post, path = "/auth/password-reset", tag = "auth",
    request_body = NewPassword,
    responses((status = 204)),
    extensions(("x-problems" = json!(["invalid-reset-token", "password-queue-full"]))),
)]
async fn reset_password(
    State(service): State<LoginService>,
    Body(new): Body<NewPassword>,
) -> Result<StatusCode, Problem> {
    service.reset_password(&new.token, new.new_password).await?;
    Ok(StatusCode::NO_CONTENT)
}
