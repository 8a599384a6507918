//! Asking for mails about an account, and confirming an e-mail, over HTTP.

use axum::extract::State;
use axum::http::StatusCode;
use garde::Validate;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::bounded_secret;
use crate::http::{Body, Problem};
use crate::users::mail::MailKind;
use crate::users::{Email, LoginService};

pub(super) fn router() -> OpenApiRouter<LoginService> {
    OpenApiRouter::new()
        .routes(routes!(ask_for_reset))
        .routes(routes!(ask_for_confirmation))
        .routes(routes!(confirm))
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Address {
    #[garde(skip)]
    #[schema(value_type = String, format = Email, example = "ada@example.com", max_length = 254)]
    email: Email,
}

/// Ask for a mail with a token for `POST /auth/password-reset`.
///
/// The answer is the same whether or not the e-mail has an account. An address gets at most three mails an hour and ten a day.
#[utoipa::path(
    post, path = "/auth/password-reset-mail", tag = "auth",
    request_body = Address,
    responses((status = 202)),
    extensions(("x-problems" = json!(["no-mail"]))),
)]
async fn ask_for_reset(
    State(service): State<LoginService>,
    Body(address): Body<Address>,
) -> Result<StatusCode, Problem> {
    service.mailing().ask(MailKind::PasswordReset, &address.email).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Ask again for the mail with the token for `POST /auth/email-confirmation`, which a registration sends.
///
/// The answer is the same whether or not an account waits for its confirmation. An address gets at most three mails an hour and ten a day.
#[utoipa::path(
    post, path = "/auth/email-confirmation-mail", tag = "auth",
    request_body = Address,
    responses((status = 202)),
    extensions(("x-problems" = json!(["no-mail"]))),
)]
async fn ask_for_confirmation(
    State(service): State<LoginService>,
    Body(address): Body<Address>,
) -> Result<StatusCode, Problem> {
    let asking = service.mailing().ask(MailKind::EmailConfirmation, &address.email);
    asking.await?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConfirmationToken {
    #[garde(custom(bounded_secret))]
    #[schema(value_type = String, example = "AZmjsFweelGPXg1vLBued4Xl0mXh1s0m1xq3tV7n4k2a9c8b6d5e4f3g2h1i0jkA", max_length = 1024)]
    token: SecretString,
}

/// Confirm the e-mail of an account with the token of a mail. Then its owner can log in.
#[utoipa::path(
    post, path = "/auth/email-confirmation", tag = "auth",
    request_body = ConfirmationToken,
    responses((status = 204)),
    extensions(("x-problems" = json!(["invalid-confirmation-token"]))),
)]
async fn confirm(
    State(service): State<LoginService>,
    Body(confirmation): Body<ConfirmationToken>,
) -> Result<StatusCode, Problem> {
    service.mailing().confirm(&confirmation.token).await?;
    Ok(StatusCode::NO_CONTENT)
}
