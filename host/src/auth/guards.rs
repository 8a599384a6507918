//! Extractors that let in only principals with a scope.
//!
//! A handler names the guard of its scope, so it cannot forget to check; the guard runs before the body is read.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::Extensions;
use axum::http::request::Parts;
use uuid::Uuid;

use super::principal::{Principal, Scope};
use super::{ADDRESS_NOT_ALLOWED, FORBIDDEN, INVALID_TOKEN, TOTP_REQUIRED, UNAUTHENTICATED};
use crate::clock::Timestamp;
use crate::problem::Problem;

/// The result of the authentication layer; absent if the request carried no token.
#[derive(Clone, Debug)]
pub(super) struct Authentication(pub Result<Principal, InvalidToken>);

/// The log contains the reason why a token was refused; the response does not.
#[derive(Clone, Copy, Debug)]
pub struct InvalidToken {
    /// The server never issued it; otherwise it is expired or revoked, or the header is malformed.
    pub is_forged: bool,
}

/// The end of the request's token, if it has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenEnd(pub Option<Timestamp>);

/// Authenticates the request, for the layers that know further kinds of tokens: the principal of the token, and when the
/// token ends. [`super::authenticate`] does not look at the token any more.
pub fn set_principal(extensions: &mut Extensions, found: Result<(Principal, Option<Timestamp>), InvalidToken>) {
    let principal = found.map(|(principal, end)| {
        extensions.insert(TokenEnd(end));
        principal
    });
    extensions.insert(Authentication(principal));
}

/// The principal of the request; `None` without a valid token.
pub fn principal(extensions: &Extensions) -> Option<&Principal> {
    extensions.get::<Authentication>()?.0.as_ref().ok()
}

/// Whether the request has a token that the server never issued.
pub fn has_forged_token(extensions: &Extensions) -> bool {
    let authentication = extensions.get::<Authentication>();
    authentication.is_some_and(|Authentication(found)| found.as_ref().is_err_and(|invalid| invalid.is_forged))
}

impl Principal {
    /// The principal of a request with these extensions.
    pub fn of(extensions: &Extensions) -> Result<Self, Problem> {
        match extensions.get::<Authentication>() {
            None => Err(Problem::new(
                UNAUTHENTICATED,
                "Send Authorization: Bearer with the accessToken of POST /auth/login, or with a service key.",
            )),
            Some(Authentication(Err(InvalidToken { .. }))) => Err(Problem::new(
                INVALID_TOKEN,
                "The access token or service key is malformed, expired or revoked; refresh the token or log in again.",
            )),
            Some(Authentication(Ok(principal))) => Ok(principal.clone()),
        }
    }

    fn require(self, scope: Scope) -> Result<Self, Problem> {
        if self.has(scope) {
            return Ok(self);
        }
        if self.needs_second_factor() {
            return Err(Problem::new(
                TOTP_REQUIRED,
                "This server requires a second factor for your role. Set it up with POST /users/me/totp, or log in with a code.",
            ));
        }
        if let Some(address) = self.refused_address() {
            let detail = format!("{self} may not be used from the address {address}.");
            return Err(Problem::new(ADDRESS_NOT_ALLOWED, detail));
        }
        let detail = format!("{self} does not have the scope {scope}.");
        Err(Problem::new(FORBIDDEN, detail))
    }

    /// For handlers that accept one of two scopes; the others name a guard.
    pub fn require_either(self, first: Scope, second: Scope) -> Result<Self, Problem> {
        if self.has(second) {
            Ok(self)
        } else {
            self.require(first)
        }
    }

    /// The user and, if there is one, the session, for routes that only users can call: their account, their claims.
    pub fn require_user(&self) -> Result<(Uuid, Option<Uuid>), Problem> {
        match self {
            Self::User { id, session, .. } => Ok((*id, *session)),
            Self::ServiceKey(_) => Err(Problem::new(
                FORBIDDEN,
                "This needs a user; a service key has no account. Log in and send that access token.",
            )),
        }
    }

    /// The user and the session, for routes about logins at this server.
    pub fn require_session(&self) -> Result<(Uuid, Uuid), Problem> {
        let (user_id, session) = self.require_user()?;
        let session = session.ok_or_else(|| {
            let detail = "This needs a login at this server; a token of your identity provider has no session here.";
            Problem::new(FORBIDDEN, detail)
        })?;
        Ok((user_id, session))
    }
}

/// Any principal.
impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.extensions)
    }
}

/// Anyone; a token that was sent must be valid.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        if parts.extensions.get::<Authentication>().is_none() {
            return Ok(None);
        }
        Self::of(&parts.extensions).map(Some)
    }
}

/// A guard for each scope, of the scope's name.
macro_rules! guards {
    ($($name:ident)*) => {$(
        #[doc = concat!("Lets in principals with [`Scope::", stringify!($name), "`].")]
        #[derive(Clone, Debug)]
        pub struct $name(pub Principal);

        impl $name {
            /// For handlers of protocols that have no extractors.
            pub fn of(extensions: &Extensions) -> Result<Self, Problem> {
                Principal::of(extensions)?.require(Scope::$name).map(Self)
            }
        }

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                Self::of(&parts.extensions)
            }
        }
    )*};
}

guards! {
    ActivitiesWrite
    AttributesWrite
    AuditLogRead
    AuditRead
    BacktestsRead
    BacktestsWrite
    ClaimsRead
    ClaimsWrite
    EventsRead
    EventsWrite
    FulfilmentsWrite
    MakeGoodsApprove
    MakeGoodsRead
    MakeGoodsWrite
    OwnershipWrite
    PluginKeysRead
    PluginKeysWrite
    PluginsRead
    PluginsWrite
    ReleasesApprove
    ReleasesRead
    ReleasesWaive
    ReleasesWrite
    ReversalsWrite
    ReviewsWrite
    RewardsRead
    RewardsWrite
    ServiceKeysRead
    ServiceKeysWrite
    UsersRead
    UsersWrite
    WebhooksRead
    WebhooksWrite
}

impl From<Infallible> for Problem {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
