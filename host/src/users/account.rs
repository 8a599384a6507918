//! Passwords of existing accounts: changing one's own, and resetting a forgotten one with a token that an ADMIN or the
//! command line issued.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::store::{self, UserRow, mails, resets};
use super::{Caller, Email, Password, UserError, UserService};
use crate::audit::{self, Entry};
use crate::auth::EndReason;
use crate::clock::Timestamp;

/// How long the token of a reset or a confirmation is valid: long enough to reach its owner over another channel.
pub(super) const TOKEN_LIFETIME: Duration = Duration::from_hours(1);

const USER_BYTES: usize = 16;
pub(super) const SECRET_BYTES: usize = 32;

/// Permits one new password.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordReset {
    pub user_id: Uuid,
    /// Give it to the owner of the account over a safe channel; it is not shown again
    #[schema(example = "AZmjsFweelGPXg1vLBued4Xl0mXh1s0m1xq3tV7n4k2a9c8b6d5e4f3g2h1i0jkA")]
    pub token: String,
    pub expires_at: Timestamp,
}

/// Shows no token.
impl std::fmt::Debug for PasswordReset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PasswordReset({}, …)", self.user_id)
    }
}

impl UserService {
    /// Changes the password of a user who knows the current one, and ends the user's other sessions.
    pub async fn change_password(
        &self,
        (user_id, session): (Uuid, Uuid),
        old: SecretString,
        new: Password,
    ) -> Result<(), UserError> {
        let user = store::find(&self.db, user_id).await?;
        let user = user.ok_or(UserError::NotFound(user_id.into()))?;
        let current = store::password_hash(&self.db, user_id).await?;
        audit::about("user", &user_id);
        if !self.passwords.verify(Caller::Known, old, current.clone()).await? {
            return Err(UserError::WrongPassword);
        }
        require_other(&user, &new)?;
        let hash = self.passwords.hash(Caller::Known, new).await?;
        let mut tx = self.db.begin().await?;
        store::lock(&mut tx, user_id)
            .await?
            .ok_or(UserError::NotFound(user_id.into()))?;
        if !store::replace_password(&mut tx, user_id, hash, current).await? {
            // Another change was first, so the old password is no longer right.
            return Err(UserError::WrongPassword);
        }
        let ended = self
            .sessions
            .end_others(&mut tx, user_id, session, EndReason::PasswordChanged)
            .await?;
        let entry = Entry::about("user", &user_id).field("passwordChanged", false, true);
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        self.sessions.refuse(ended).await;
        Ok(())
    }

    /// Issues a token that permits one new password. An earlier token of the user becomes invalid.
    pub async fn permit_reset(&self, user_id: Uuid) -> Result<PasswordReset, UserError> {
        self.issue_reset(user_id, None).await
    }

    /// The same for a mail, by this task of the server. The token of an ADMIN stays valid.
    pub(super) async fn permit_reset_by_mail(
        &self,
        user_id: Uuid,
        task: &'static str,
    ) -> Result<PasswordReset, UserError> {
        self.issue_reset(user_id, Some(task)).await
    }

    async fn issue_reset(&self, user_id: Uuid, task: Option<&'static str>) -> Result<PasswordReset, UserError> {
        let now = self.clock.now();
        let expires_at = now.plus(TOKEN_LIFETIME);
        let secret = self.clock.random::<SECRET_BYTES>();
        let mut tx = self.db.begin().await?;
        let user = store::lock(&mut tx, user_id).await?;
        let user = user.ok_or(UserError::NotFound(user_id.into()))?;
        if user.email.is_none() {
            return Err(UserError::NoEmail(user_id));
        }
        resets::put(&mut tx, (user_id, task.is_some()), hash(&secret), now, expires_at).await?;
        let entry = Entry::about("user", &user_id).field("passwordResetUntil", None::<Timestamp>, expires_at);
        let entry = match task {
            Some(task) => entry.by_server(task),
            None => entry,
        };
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        Ok(PasswordReset {
            user_id,
            token: token(user_id, &secret),
            expires_at,
        })
    }

    /// The same for the account with this e-mail.
    pub async fn permit_reset_of(&self, email: &Email) -> Result<PasswordReset, UserError> {
        let found = store::find_credentials(&self.db, email.key()).await?;
        let found = found.ok_or_else(|| UserError::NoSuchEmail(email.clone()))?;
        self.permit_reset(found.id).await
    }

    /// Sets a new password with a token, and ends all sessions of the user.
    pub async fn reset_password(&self, token: &SecretString, new: Password) -> Result<(), UserError> {
        let (user_id, secret) = parse(token.expose_secret()).ok_or(UserError::InvalidResetToken)?;
        // Before the costly hash, which not everyone may cause.
        if !resets::is_valid(&self.db, user_id, hash(&secret), self.clock.now()).await? {
            return Err(UserError::InvalidResetToken);
        }
        audit::about("user", &user_id);
        let user = store::find(&self.db, user_id).await?;
        require_other(&user.ok_or(UserError::InvalidResetToken)?, &new)?;
        let password_hash = self.passwords.hash(Caller::Known, new).await?;
        let mut tx = self.db.begin().await?;
        store::lock(&mut tx, user_id)
            .await?
            .ok_or(UserError::InvalidResetToken)?;
        if !resets::take(&mut tx, user_id, hash(&secret), self.clock.now()).await? {
            return Err(UserError::InvalidResetToken);
        }
        store::set_password(&mut tx, user_id, password_hash).await?;
        // The token came to the e-mail, or an administrator vouches for it.
        mails::set_unconfirmed(&mut tx, user_id, false).await?;
        let ended = self
            .sessions
            .end_all(&mut tx, user_id, EndReason::PasswordChanged)
            .await?;
        let entry = Entry::about("user", &user_id).field("passwordChanged", false, true);
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        self.sessions.refuse(ended).await;
        Ok(())
    }
}

/// A password that everyone who knows the e-mail would try first is refused.
fn require_other(user: &UserRow, new: &Password) -> Result<(), UserError> {
    match user.email.as_deref().map(str::parse::<Email>) {
        Some(Ok(email)) if new.is_of(&email) => Err(UserError::PasswordIsEmail),
        _ => Ok(()),
    }
}

pub(super) fn token(user_id: Uuid, secret: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([user_id.as_bytes().as_slice(), secret].concat())
}

pub(super) fn parse(token: &str) -> Option<(Uuid, Vec<u8>)> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (user_id, secret) = bytes.split_at_checked(USER_BYTES)?;
    (secret.len() == SECRET_BYTES).then_some((Uuid::from_slice(user_id).ok()?, secret.to_vec()))
}

pub(super) fn hash(secret: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, secret).as_ref().to_vec()
}
