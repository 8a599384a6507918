//! The second factor and proofs of identity over HTTP.

use axum::extract::State;
use axum::http::StatusCode;
use garde::Validate;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Principal, SteppedUp, UsersWrite, bounded_secret};
use crate::clock::Timestamp;
use crate::directory::UserRef;
use crate::http::{Body, Path, Problem};
use crate::users::LoginService;
use crate::users::second_factor::{Enrolment, RecoveryCodes, SecondFactor};

pub(super) fn router() -> OpenApiRouter<LoginService> {
    OpenApiRouter::new()
        .routes(routes!(state, enrol, remove))
        .routes(routes!(confirm))
        .routes(routes!(renew_recovery_codes))
        .routes(routes!(remove_of_user))
        .routes(routes!(step_up))
}

/// Get the state of your second factor.
#[utoipa::path(
    get, path = "/users/me/totp", tag = "auth", security(("bearer" = [])),
    responses((status = 200, body = SecondFactor)),
)]
async fn state(State(service): State<LoginService>, principal: Principal) -> Result<axum::Json<SecondFactor>, Problem> {
    let (user_id, _) = principal.require_session()?;
    Ok(axum::Json(service.second_factors().state(user_id).await?))
}

/// Start a second factor: time-based codes (TOTP, RFC 6238) of an authenticator.
///
/// It counts once `POST /users/me/totp/confirmation` gets a code. Until then a repetition replaces the secret.
#[utoipa::path(
    post, path = "/users/me/totp", tag = "auth", security(("bearer" = [])),
    responses((status = 201, body = Enrolment)),
    extensions(("x-problems" = json!(["step-up-required", "second-factor-active", "sealing-key-missing"]))),
)]
async fn enrol(
    State(service): State<LoginService>,
    principal: Principal,
    _: SteppedUp,
) -> Result<(StatusCode, axum::Json<Enrolment>), Problem> {
    let (user_id, _) = principal.require_session()?;
    let enrolment = service.second_factors().enrol(user_id).await?;
    Ok((StatusCode::CREATED, axum::Json(enrolment)))
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Confirmation {
    #[garde(custom(bounded_secret))]
    #[schema(value_type = String, example = "287082", max_length = 1024)]
    code: SecretString,
}

/// Confirm the second factor with a code of the authenticator. Your other sessions end.
#[utoipa::path(
    post, path = "/users/me/totp/confirmation", tag = "auth", security(("bearer" = [])),
    request_body = Confirmation,
    responses((status = 200, body = RecoveryCodes)),
    extensions(("x-problems" = json!(["no-second-factor", "second-factor-active", "sealing-key-missing"]))),
)]
async fn confirm(
    State(service): State<LoginService>,
    principal: Principal,
    Body(confirmation): Body<Confirmation>,
) -> Result<axum::Json<RecoveryCodes>, Problem> {
    let user = principal.require_session()?;
    let codes = service.second_factors().confirm(user, &confirmation.code).await?;
    Ok(axum::Json(codes))
}

/// Make ten new recovery codes. The ones before are no longer valid.
#[utoipa::path(
    post, path = "/users/me/recovery-codes", tag = "auth", security(("bearer" = [])),
    responses((status = 201, body = RecoveryCodes)),
    extensions(("x-problems" = json!(["step-up-required", "no-second-factor"]))),
)]
async fn renew_recovery_codes(
    State(service): State<LoginService>,
    principal: Principal,
    _: SteppedUp,
) -> Result<(StatusCode, axum::Json<RecoveryCodes>), Problem> {
    let (user_id, _) = principal.require_session()?;
    let codes = service.second_factors().renew_recovery_codes(user_id).await?;
    Ok((StatusCode::CREATED, axum::Json(codes)))
}

/// Remove your second factor and its recovery codes. Your other sessions end.
#[utoipa::path(
    delete, path = "/users/me/totp", tag = "auth", security(("bearer" = [])),
    responses((status = 204)),
    extensions(("x-problems" = json!(["step-up-required", "no-second-factor"]))),
)]
async fn remove(
    State(service): State<LoginService>,
    principal: Principal,
    _: SteppedUp,
) -> Result<StatusCode, Problem> {
    service.second_factors().remove(principal.require_session()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove the second factor of a user who lost it. The user's sessions end.
///
/// `meed user remove-totp` does the same.
#[utoipa::path(
    delete, path = "/users/{id}/totp", tag = "users", security(("bearer" = ["users:write"])),
    params(("id" = UserRef, Path)),
    responses((status = 204)),
    extensions(("x-problems" = json!(["step-up-required", "no-such-user", "no-second-factor"]))),
)]
async fn remove_of_user(
    State(service): State<LoginService>,
    _: UsersWrite,
    _: SteppedUp,
    Path(user): Path<UserRef>,
) -> Result<StatusCode, Problem> {
    service.remove_second_factor(user).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Identity {
    /// A code of the authenticator or a recovery code; required if the account has a second factor
    #[garde(inner(custom(bounded_secret)))]
    #[schema(value_type = Option<String>, example = "287082", max_length = 1024)]
    code: Option<SecretString>,
    /// Required if the account has no second factor
    #[garde(inner(custom(bounded_secret)))]
    #[schema(value_type = Option<String>, format = Password, example = "correct horse battery", max_length = 1024)]
    password: Option<SecretString>,
}

/// The result of a proof of identity.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Proved {
    /// Until when this session may do what needs such a proof
    until: Timestamp,
}

/// Prove again who you are, for changes of roles and keys.
///
/// They need a login or such a proof within the last 15 minutes (`auth.step_up_seconds`).
#[utoipa::path(
    post, path = "/auth/step-up", tag = "auth", security(("bearer" = [])),
    request_body(content = Identity, examples(
        ("code" = (summary = "With a second factor", value = json!({"code": "287082"}))),
        ("password" = (summary = "Without one", value = json!({"password": "correct horse battery"}))),
    )),
    responses((status = 200, body = Proved)),
    extensions(("x-problems" = json!([
        "wrong-credentials", "second-factor-required", "wrong-code", "password-queue-full", "sealing-key-missing"
    ]))),
)]
async fn step_up(
    State(service): State<LoginService>,
    principal: Principal,
    Body(identity): Body<Identity>,
) -> Result<axum::Json<Proved>, Problem> {
    let user = principal.require_session()?;
    let until = service.step_up(user, identity.code, identity.password).await?;
    Ok(axum::Json(Proved { until }))
}
