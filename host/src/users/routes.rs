//! `/users` over HTTP; `/auth/register` and `/auth/login` in `login`.

mod account;
mod erasure;
mod external;
mod issuers;
mod login;
mod mails;
mod oidc;
mod second_factor;

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::service::{Filter, User, UserAttributes, UserChange, UserDetails, UserError, UserService};
use super::{Email, PasswordError};
use crate::attributes::Attributes;
use crate::auth::{AttributesWrite, Principal, Role, Scope, SteppedUpOrKey, UsersRead, UsersWrite};
use crate::directory::{ExternalId, UserRef};
use crate::http::{Body, Code, Page, PageParams, Params, Path, Problem};
use crate::problem::{INVALID_PARAMETER, RATE_LIMITED};

const NO_SUCH_USER: Code = Code::new("no-such-user", 404, "There is no such user");
const EMAIL_TAKEN: Code = Code::new("email-taken", 409, "The e-mail address already has an account");
const NO_EMAIL: Code = Code::new("no-email", 409, "The user has no e-mail");
const ERASURE_PENDING: Code = Code::new("erasure-pending", 409, "The user is about to be erased");
const ERASURE_BEGUN: Code = Code::new("erasure-begun", 409, "The erasure has begun");
const NO_ERASURE: Code = Code::new("no-erasure", 404, "No erasure was asked for");
const STAFF_ACCOUNT: Code = Code::new("staff-account", 403, "A service key may not change accounts of staff");
const LAST_ADMIN: Code = Code::new("last-admin", 409, "At least one ADMIN must remain");
const PASSWORD_QUEUE_FULL: Code = Code::new("password-queue-full", 503, "Too many logins at the same time");
const INVALID_RESET_TOKEN: Code = Code::new("invalid-reset-token", 401, "The token is not valid");
const INVALID_CONFIRMATION: Code = Code::new("invalid-confirmation-token", 401, "The token is not valid");
const EMAIL_UNCONFIRMED: Code = Code::new("email-unconfirmed", 403, "The e-mail is not confirmed");
const NO_MAIL: Code = Code::new("no-mail", 404, "This server sends no mails");
const SECOND_FACTOR_REQUIRED: Code = Code::new("second-factor-required", 401, "A code is required");
const WRONG_CODE: Code = Code::new("wrong-code", 401, "The code is not valid");
const SECOND_FACTOR_ACTIVE: Code = Code::new("second-factor-active", 409, "The account has a second factor already");
const NO_SECOND_FACTOR: Code = Code::new("no-second-factor", 404, "The account has no second factor");
const IDENTITY_PROVIDER_UNAVAILABLE: Code = Code::new(
    "identity-provider-unavailable",
    503,
    "The identity provider cannot be reached",
);
const OIDC_NOT_CONFIGURED: Code = Code::new("oidc-not-configured", 404, "This server has no identity provider");
const OIDC_LOGIN_FAILED: Code = Code::new("oidc-login-failed", 401, "The login with the identity provider failed");
const NO_MAPPED_ROLE: Code = Code::new("no-mapped-role", 403, "The identity provider gives you no role");
const WRONG_CREDENTIALS: Code = Code::new("wrong-credentials", 401, "The e-mail or the password is wrong");

pub const CODES: &[Code] = &[
    NO_SUCH_USER,
    EMAIL_TAKEN,
    NO_EMAIL,
    ERASURE_PENDING,
    ERASURE_BEGUN,
    NO_ERASURE,
    LAST_ADMIN,
    STAFF_ACCOUNT,
    PASSWORD_QUEUE_FULL,
    WRONG_CREDENTIALS,
    INVALID_RESET_TOKEN,
    INVALID_CONFIRMATION,
    EMAIL_UNCONFIRMED,
    NO_MAIL,
    SECOND_FACTOR_REQUIRED,
    WRONG_CODE,
    SECOND_FACTOR_ACTIVE,
    NO_SECOND_FACTOR,
    IDENTITY_PROVIDER_UNAVAILABLE,
    OIDC_NOT_CONFIGURED,
    OIDC_LOGIN_FAILED,
    NO_MAPPED_ROLE,
];

pub use erasure::router as erasure_router;
pub use issuers::authenticate;
pub use login::{CREDENTIALS_PATHS, router as login_router};
pub use oidc::router as oidc_router;

pub fn router(service: UserService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(me))
        .routes(routes!(list))
        .routes(routes!(get, change))
        .routes(routes!(set_attributes))
        .merge(external::router())
        .with_state(service)
}

/// Get your own account.
#[utoipa::path(
    get, path = "/users/me", tag = "users", security(("bearer" = [])),
    responses((status = 200, body = UserDetails)),
)]
async fn me(State(service): State<UserService>, principal: Principal) -> Result<axum::Json<UserDetails>, Problem> {
    let (user_id, _) = principal.require_user()?;
    Ok(axum::Json(service.get(user_id).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only users in this role
    role: Option<Role>,
    /// Only the user with this e-mail
    #[param(example = "ada@example.com")]
    email: Option<String>,
    /// Only the user with this external id
    #[param(value_type = Option<String>, example = "customer-1047")]
    external_id: Option<ExternalId>,
}

/// List accounts, newest first.
#[utoipa::path(
    get, path = "/users", tag = "users", security(("bearer" = ["users:read"])),
    params(PageParams, ListParams),
    responses((status = 200, body = Page<User>)),
)]
async fn list(
    State(service): State<UserService>,
    _: UsersRead,
    Params(page): Params<PageParams>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<User>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let email = params
        .email
        .map(|text| text.parse::<Email>())
        .transpose()
        .map_err(|error| Problem::new(INVALID_PARAMETER, format!("email {error}.")))?;
    let filter = Filter {
        role: params.role,
        email,
        external_id: params.external_id,
    };
    let users = service.list(filter, after, size).await?;
    Ok(axum::Json(Page::new(users, size, |user| user.id, |user| user)))
}

/// Get an account. Only an ADMIN can get the accounts of other users; for all others they give 404.
#[utoipa::path(
    get, path = "/users/{id}", tag = "users", security(("bearer" = []), ("bearer" = ["users:read"])),
    params(("id" = UserRef, Path)),
    responses((status = 200, body = UserDetails)),
    extensions(
        ("x-problems" = json!(["no-such-user"])),
    ),
)]
async fn get(
    State(service): State<UserService>,
    principal: Principal,
    Path(user): Path<UserRef>,
) -> Result<axum::Json<UserDetails>, Problem> {
    let user_id = service.id_of(user.clone()).await?;
    if !principal.is_or_has(user_id, Scope::UsersRead) {
        return Err(UserError::NotFound(user).into());
    }
    Ok(axum::Json(service.get(user_id).await?))
}

/// Change the role of an account, or disable or enable it. Each change ends its sessions.
///
/// A service key cannot change roles, and can only disable and enable users with the role USER.
#[utoipa::path(
    patch, path = "/users/{id}", tag = "users", security(("bearer" = ["users:write"])),
    params(("id" = UserRef, Path)),
    request_body(content = UserChange, examples(
        ("role" = (summary = "Make an operator", value = json!({"role": "OPERATOR"}))),
        ("disable" = (summary = "Disable", value = json!({"disabled": true}))),
    )),
    responses((status = 200, body = User)),
    extensions(("x-problems" = json!(["step-up-required", "no-such-user", "last-admin", "erasure-pending", "staff-account"]))),
)]
async fn change(
    State(service): State<UserService>,
    UsersWrite(principal): UsersWrite,
    _: SteppedUpOrKey,
    Path(user): Path<UserRef>,
    Body(change): Body<UserChange>,
) -> Result<axum::Json<User>, Problem> {
    if change.role.is_some() {
        // A stolen service key must not make an ADMIN.
        principal.require_user()?;
    }
    let id = service.id_of(user).await?;
    Ok(axum::Json(service.change(id, change, &principal).await?))
}

/// Replace all attributes of a user. Conditions can read them, so users cannot set their own.
#[utoipa::path(
    put, path = "/users/{id}/attributes", tag = "users", security(("bearer" = ["attributes:write"])),
    params(("id" = UserRef, Path)),
    request_body = Attributes,
    responses((status = 200, body = UserAttributes)),
    extensions(("x-problems" = json!(["no-such-user"]))),
)]
async fn set_attributes(
    State(service): State<UserService>,
    AttributesWrite(principal): AttributesWrite,
    Path(user): Path<UserRef>,
    Body(new): Body<Attributes>,
) -> Result<axum::Json<UserAttributes>, Problem> {
    let id = service.id_of(user).await?;
    Ok(axum::Json(service.set_attributes(id, new, principal.id()).await?))
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        let detail = error.to_string();
        match error {
            UserError::NotFound(_) | UserError::NoSuchEmail(_) => Self::new(NO_SUCH_USER, detail),
            UserError::ErasurePending(_) => Self::new(ERASURE_PENDING, detail),
            UserError::ErasureBegun(_) => Self::new(ERASURE_BEGUN, detail),
            UserError::NoErasure(_) => Self::new(NO_ERASURE, detail),
            UserError::NoEmail(_) => Self::new(NO_EMAIL, detail),
            UserError::EmailTaken(_) => Self::new(EMAIL_TAKEN, detail),
            UserError::WrongPassword => Self::field("/oldPassword", detail),
            UserError::PasswordIsEmail | UserError::PasswordRequired => Self::field("/password", detail),
            UserError::InvalidResetToken => Self::new(INVALID_RESET_TOKEN, detail),
            UserError::NoSuchInvite => Self::field("/inviteCode", detail),
            UserError::StaffAccount(..) => Self::new(STAFF_ACCOUNT, detail),
            UserError::LastAdmin(_) => Self::new(LAST_ADMIN, detail),
            UserError::InvalidConfirmation => Self::new(INVALID_CONFIRMATION, detail),
            UserError::Unconfirmed => Self::new(EMAIL_UNCONFIRMED, detail),
            UserError::NoMail => Self::new(NO_MAIL, detail),
            UserError::SecondFactorRequired => Self::new(SECOND_FACTOR_REQUIRED, detail),
            UserError::WrongCode => Self::new(WRONG_CODE, detail),
            UserError::UnconfirmedCode => Self::field("/code", detail),
            UserError::TooManyCodes(limit) => Self::new(RATE_LIMITED, detail).retry_after(limit.retry_after),
            UserError::SecondFactorActive => Self::new(SECOND_FACTOR_ACTIVE, detail),
            UserError::NoSecondFactor => Self::new(NO_SECOND_FACTOR, detail),
            UserError::Totp(error) => Self::internal(error),
            UserError::Sealed(error) => error.into(),
            UserError::Auth(error) => error.into(),
            UserError::Password(PasswordError::QueueFull) => Self::new(PASSWORD_QUEUE_FULL, detail).retry_after(1),
            UserError::Password(error @ PasswordError::Failed(_)) => Self::internal(error),
            UserError::Activity(error) => error.into(),
            UserError::Db(error) => error.into(),
        }
    }
}
