//! The rules for registering and logging in.

use std::collections::BTreeMap;

use garde::Validate;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::devices::Device;
use super::store::mails;
use super::{
    Caller, Devices, Email, Mailing, NewUser, Password, PasswordReset, SecondFactors, User, UserError, UserService,
};
use crate::activities::{ActivityError, ActivityService, OwnActivity};
use crate::audit::{self, Entry};
use crate::auth::{AuthError, AuthService, Principal, Role, Scope, TokenPair};
use crate::cache::{Cache, Policy, RateLimit};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbError, Tx};
use crate::directory::UserRef;

/// An account to register.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewAccount {
    #[garde(skip)]
    #[schema(value_type = String, format = Email, example = "ada@example.com", max_length = 254)]
    pub email: Email,
    #[garde(skip)]
    #[schema(value_type = String, format = Password, example = "correct horse battery", min_length = 8, max_length = 128)]
    pub password: Password,
    /// The invite code of the user who invited you
    #[garde(length(chars, max = 64))]
    #[schema(example = "7K3M9QXZ2B", max_length = 64)]
    pub invite_code: Option<String>,
    /// USER unless given; another role needs an ADMIN's access token
    #[garde(skip)]
    pub role: Option<Role>,
}

/// The result of a login.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    #[serde(flatten)]
    pub tokens: TokenPair,
    /// Keep it on this device and send it with its next login, so that attempts of others do not delay yours. Valid for 180 days,
    /// and for this e-mail only
    #[schema(example = "mHy6TIxSxwR1uJmDdRkAAQAAAZrSkaAA3cNfJ7Yk0bRZl7m1m0Zr5hJ2l8oQ0m0m0m0m0m0m0m0m")]
    pub device_token: String,
}

/// Whose bucket counts an attempt.
enum Attempt<'a> {
    /// Of an unknown device: the account's.
    Account(&'a Email),
    Device(Device),
    /// The holder of a stolen access token must not guess the password, and attempts of others must not stop its owner.
    Session(Uuid),
}

#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("A new {0} account needs the access token of an ADMIN; leave role out for a USER.")]
    RoleNeedsLogin(Role),
    #[error("{by} does not allow creating {wanted} accounts; only an ADMIN can create them.")]
    RoleNeedsAdmin { by: String, wanted: Role },
    #[error("No account has this e-mail and this password.")]
    WrongCredentials,
    #[error("Too many attempts to log in to this account; wait {} s.", .0.retry_after)]
    TooManyAttempts(RateLimit),
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Activity(#[from] ActivityError),
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Clone, Debug)]
pub struct LoginService {
    db: Db,
    clock: Clock,
    cache: Cache,
    /// The limit on login attempts for one account, known device or session.
    attempts: Option<Policy>,
    hides_emails: bool,
    auth: AuthService,
    devices: Devices,
    users: UserService,
    second_factors: SecondFactors,
    mailing: Mailing,
    activities: ActivityService,
}

impl LoginService {
    pub fn new(
        (db, clock): (Db, Clock),
        (cache, attempts): (Cache, Option<Policy>),
        hides_emails: bool,
        (auth, devices): (AuthService, Devices),
        (users, second_factors): (UserService, SecondFactors),
        mailing: Mailing,
        activities: ActivityService,
    ) -> Self {
        Self {
            db,
            clock,
            cache,
            attempts,
            hides_emails,
            auth,
            devices,
            users,
            second_factors,
            mailing,
            activities,
        }
    }

    /// Creates an account. Only an ADMIN can create accounts in other roles than USER.
    pub async fn register(&self, by: Option<Principal>, new: NewAccount) -> Result<User, LoginError> {
        let role = new.role.unwrap_or(Role::User);
        let confirms_email = self.mailing.confirms() && !by.as_ref().is_some_and(|by| by.has(Scope::UsersWrite));
        if role != Role::User {
            let by = by.ok_or(LoginError::RoleNeedsLogin(role))?;
            // A stolen service key must not make an ADMIN.
            if !by.has(Scope::UsersWrite) || by.key_holder().is_some() {
                return Err(LoginError::RoleNeedsAdmin {
                    by: by.to_string(),
                    wanted: role,
                });
            }
            self.auth.require_proof(&by).await?;
        }
        let new = NewUser {
            email: new.email,
            password: new.password,
            role,
            invite_code: new.invite_code,
            confirms_email,
        };
        Ok(self.users.create(new).await?)
    }

    pub(super) fn mailing(&self) -> &Mailing {
        &self.mailing
    }

    /// Whether a registration must not tell that its e-mail has an account.
    pub(super) fn hides_emails(&self) -> bool {
        self.hides_emails
    }

    /// Counts as an attempt to log in: the holder of a stolen access token must not guess the password.
    pub(super) async fn change_password(
        &self,
        user: (Uuid, Uuid),
        old: SecretString,
        new: Password,
    ) -> Result<(), LoginError> {
        self.count_attempt(Attempt::Session(user.1)).await?;
        Ok(self.users.change_password(user, old, new).await?)
    }

    pub(super) async fn permit_reset(&self, user: UserRef) -> Result<PasswordReset, LoginError> {
        let user_id = self.users.id_of(user).await?;
        Ok(self.users.permit_reset(user_id).await?)
    }

    pub(super) async fn reset_password(&self, token: &SecretString, new: Password) -> Result<(), LoginError> {
        Ok(self.users.reset_password(token, new).await?)
    }

    pub(super) async fn remove_second_factor(&self, user: UserRef) -> Result<(), LoginError> {
        let user_id = self.users.id_of(user).await?;
        Ok(self.users.remove_second_factor(user_id).await?)
    }

    pub(super) fn second_factors(&self) -> &SecondFactors {
        &self.second_factors
    }

    /// Proves again, within a session, who its user is: by a code if the account has a second factor, else by the password.
    pub(super) async fn step_up(
        &self,
        (user_id, session): (Uuid, Uuid),
        code: Option<SecretString>,
        password: Option<SecretString>,
    ) -> Result<Timestamp, LoginError> {
        let user = self
            .users
            .find(user_id)
            .await?
            .ok_or(UserError::NotFound(user_id.into()))?;
        if !self.second_factors.is_active(user_id).await? {
            let email = user.email.ok_or(UserError::NoEmail(user_id))?;
            let password = password.ok_or(UserError::PasswordRequired)?;
            self.count_attempt(Attempt::Session(session)).await?;
            self.users
                .with_credentials(Caller::Known, &email, password)
                .await?
                .ok_or(LoginError::WrongCredentials)?;
        }
        audit::about("user", &user_id);
        self.second_factors.count_attempt(session, code.as_ref()).await?;
        let mut tx = self.db.begin().await?;
        self.users.hold(&mut tx, user_id).await?;
        let proof = self.second_factors.prove(&mut tx, user_id, code.as_ref()).await?;
        let until = self
            .auth
            .prove(&mut tx, (user_id, session), proof.is_second_factor())
            .await?;
        let entry = Entry::about("user", &user_id).field("provedUntil", None::<Timestamp>, until);
        audit::record(&mut tx, &self.clock, proof.note(entry)).await?;
        tx.commit().await?;
        Ok(until)
    }

    pub async fn login(
        &self,
        email: &str,
        password: SecretString,
        code: Option<SecretString>,
        device_token: Option<SecretString>,
    ) -> Result<Login, LoginError> {
        let Ok(address) = email.parse::<Email>() else {
            // Takes as long as a wrong password.
            self.users.with_credentials(Caller::Unknown, email, password).await?;
            return Err(LoginError::WrongCredentials);
        };
        let device = device_token.and_then(|token| self.devices.find(&token, &address));
        let by = if device.is_some() {
            Caller::Known
        } else {
            Caller::Unknown
        };
        self.count_attempt(device.map_or(Attempt::Account(&address), Attempt::Device))
            .await?;
        let user_id = self
            .users
            .with_credentials(by, email, password)
            .await?
            .ok_or(LoginError::WrongCredentials)?;
        self.second_factors.count_attempt(user_id, code.as_ref()).await?;
        let tokens = self.open_session(user_id, code.as_ref()).await?;
        Ok(Login {
            tokens,
            device_token: self.devices.issue(&address),
        })
    }

    /// Logs in a user whose password was checked, and checks the code of the second factor, if the account has one.
    pub async fn open_session(&self, user_id: Uuid, code: Option<&SecretString>) -> Result<TokenPair, LoginError> {
        let mut tx = self.db.begin().await?;
        // Locked, so that a change of its role or state either precedes this session or ends it.
        let user = self
            .users
            .hold(&mut tx, user_id)
            .await?
            .filter(|user| !user.disabled)
            .ok_or(LoginError::WrongCredentials)?;
        if self.mailing.confirms() && mails::is_unconfirmed(&mut tx, user_id).await? {
            // Otherwise a registration and a login would show whether the e-mail had an account before.
            return Err(if self.hides_emails {
                LoginError::WrongCredentials
            } else {
                UserError::Unconfirmed.into()
            });
        }
        let proof = self.second_factors.prove(&mut tx, user_id, code).await?;
        let entry = proof.note(Entry::about("user", &user_id));
        self.open(tx, (user.id, user.role), proof.is_second_factor(), entry)
            .await
    }

    /// Logs in a user whom an identity provider authenticated. A second factor of the account is not asked for: the provider
    /// has its own. `second_factor`: the provider checked one.
    pub(super) async fn open_session_of(
        &self,
        user_id: Uuid,
        provider: &str,
        second_factor: bool,
    ) -> Result<TokenPair, LoginError> {
        let mut tx = self.db.begin().await?;
        let user = self.users.hold(&mut tx, user_id).await?;
        let user = user.filter(|user| !user.disabled).ok_or(LoginError::WrongCredentials)?;
        let entry = Entry::about("user", &user_id).field("identityProvider", None::<&str>, provider);
        self.open(tx, (user.id, user.role), second_factor, entry).await
    }

    /// Opens the session in this transaction, which holds the account, and commits it.
    async fn open(
        &self,
        mut tx: Tx,
        (user_id, role): (Uuid, Role),
        second_factor: bool,
        entry: Entry,
    ) -> Result<TokenPair, LoginError> {
        let session_id = self.clock.new_id();
        let pair = self
            .auth
            .open_session(&mut tx, (user_id, role), session_id, second_factor)
            .await?;
        let login = OwnActivity {
            user_id,
            kind: "auth.login",
            source_id: format!("auth.login:{session_id}"),
            occurred_at: self.clock.now(),
            attributes: BTreeMap::new(),
        };
        self.activities.record_own(&mut tx, login).await?;
        let entry = entry.field("session", None::<Uuid>, session_id);
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        Ok(pair)
    }

    /// Counts an attempt to log in, whether or not the account exists. Only passwords are counted, so an attacker ends no
    /// session; and the bucket refills, so an attacker locks no unknown device out for long.
    async fn count_attempt(&self, attempt: Attempt<'_>) -> Result<(), LoginError> {
        let Some(policy) = &self.attempts else {
            return Ok(());
        };
        let bucket = match attempt {
            Attempt::Account(email) => email.key(),
            Attempt::Device(device) => format!("device:{}", device.number()),
            Attempt::Session(id) => format!("session:{id}"),
        };
        let limit = self.cache.check(policy, &bucket, self.clock.now()).await;
        if limit.allowed {
            return Ok(());
        }
        metrics::counter!("meed_rate_limited_total", "policy" => policy.name).increment(1);
        Err(LoginError::TooManyAttempts(limit))
    }
}
