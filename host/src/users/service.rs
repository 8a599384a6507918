//! The rules for accounts.

use std::collections::BTreeMap;

use garde::Validate;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::mail::MailKind;
use super::replacement::Replacement;
pub use super::store::Filter;
use super::store::{self, UserRow, attributes, erasures};
use super::{Caller, Email, Password, PasswordError, Passwords, Standings, invite, mail_queue};
use crate::activities::{ActivityError, ActivityService, OwnActivity};
use crate::attributes::Attributes;
use crate::audit::{self, Entry};
use crate::auth::{AuthError, EndReason, Principal, Role, Sessions};
use crate::cache::{Invalidation, RateLimit};
use crate::clock::{Clock, Timestamp};
use crate::config::InvitationsCountAfter;
use crate::db::{Db, DbError, Tx};
use crate::directory::{Account, Directory, UserRef};
use crate::keys::SealError;

/// An account to create.
#[derive(Debug)]
pub struct NewUser {
    pub email: Email,
    pub password: Password,
    pub role: Role,
    /// The inviter is credited, now or later.
    pub invite_code: Option<String>,
    /// Its owner must confirm the e-mail before the first login.
    pub confirms_email: bool,
}

/// A user: an account of Meed, a user of another system, or both.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub id: Uuid,
    /// Null for a user without a login at Meed
    #[schema(example = "ada@example.com")]
    pub email: Option<String>,
    /// The id of the user in your own system
    #[schema(example = "customer-1047")]
    pub external_id: Option<String>,
    pub role: Role,
    /// The invite code; a registration with it credits this user. Null for a user without a login at Meed
    #[schema(example = "7K3M9QXZ2B")]
    pub invite_code: Option<String>,
    /// The user who invited this user
    pub invited_by: Option<Uuid>,
    /// A disabled account cannot log in and has no sessions
    pub disabled: bool,
    pub created_at: Timestamp,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            email: row.email,
            external_id: row.external_id,
            role: row.role,
            invite_code: row.invite_code,
            invited_by: row.invited_by,
            disabled: row.disabled,
            created_at: row.created_at,
        }
    }
}

/// An account with its current attributes.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserDetails {
    #[serde(flatten)]
    pub user: User,
    /// All values are returned as text
    #[schema(example = json!({"level": "42", "region": "KR", "beta": "true"}))]
    pub attributes: BTreeMap<String, String>,
}

/// The current attributes of an account.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserAttributes {
    pub id: Uuid,
    /// All values are returned as text
    #[schema(example = json!({"level": "42", "region": "KR", "beta": "true"}))]
    pub attributes: BTreeMap<String, String>,
}

/// Changes of an account; omitted members stay unchanged.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserChange {
    #[garde(skip)]
    pub role: Option<Role>,
    #[garde(skip)]
    pub disabled: Option<bool>,
}

#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("There is no user {0}.")]
    NotFound(UserRef),
    #[error("{0} has an account already; log in, or use another address.")]
    EmailTaken(Email),
    #[error("User {0} has no e-mail, and therefore neither a password nor a second factor.")]
    NoEmail(Uuid),
    #[error("User {0} is about to be erased; cancel that first with DELETE /users/{{id}}/erasure.")]
    ErasurePending(Uuid),
    #[error("The erasure of user {0} has begun and cannot be cancelled.")]
    ErasureBegun(Uuid),
    #[error("No erasure of user {0} was asked for.")]
    NoErasure(Uuid),
    #[error("There is no account with the e-mail {0}.")]
    NoSuchEmail(Email),
    #[error("is not your current password")]
    WrongPassword,
    #[error("is the e-mail address of the account; choose another password")]
    PasswordIsEmail,
    #[error("The token is unknown, used or expired; ask for another mail with POST /auth/email-confirmation-mail.")]
    InvalidConfirmation,
    #[error("This server sends no mails; ask an ADMIN.")]
    NoMail,
    #[error(
        "Confirm your e-mail first, with the token of the mail; POST /auth/email-confirmation-mail sends another one."
    )]
    Unconfirmed,
    #[error("The token is unknown, used or expired; ask for a new one.")]
    InvalidResetToken,
    #[error("no account has this invite code; correct it or leave it out")]
    NoSuchInvite,
    #[error("{0} is the last ADMIN who can log in; make another account ADMIN first.")]
    LastAdmin(Uuid),
    #[error("{0} has the role {1}; a service key may only change accounts with the role USER. An ADMIN can do it.")]
    StaffAccount(Uuid, Role),
    #[error("This account has a second factor; send a code of the authenticator or a recovery code as `code`.")]
    SecondFactorRequired,
    #[error("The code is wrong, expired or used; send the next code of the authenticator, or a recovery code.")]
    WrongCode,
    #[error("is not a code of the new secret; check the clock of the device and send the current code")]
    UnconfirmedCode,
    #[error("Too many codes; wait {} s, or send a recovery code.", .0.retry_after)]
    TooManyCodes(RateLimit),
    #[error("The account has a second factor already; remove it first with DELETE /users/me/totp.")]
    SecondFactorActive,
    #[error("The account has no second factor; POST /users/me/totp starts one.")]
    NoSecondFactor,
    #[error("is required, because the account has no second factor")]
    PasswordRequired,
    #[error("a second factor cannot be made: {0}")]
    Totp(#[from] totp_rs::TotpError),
    #[error(transparent)]
    Sealed(#[from] SealError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Activity(#[from] ActivityError),
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Clone, Debug)]
pub struct UserService {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) passwords: Passwords,
    pub(super) sessions: Sessions,
    pub(super) standings: Standings,
    pub(super) directory: Directory,
    activities: ActivityService,
    invitations_count_after: InvitationsCountAfter,
}

impl UserRow {
    /// Whether this principal may disable, enable or erase the account: a stolen service key must not lock out staff.
    pub(super) fn require_changeable(&self, by: &Principal) -> Result<(), UserError> {
        if by.key_holder().is_some() && self.role != Role::User {
            return Err(UserError::StaffAccount(self.id, self.role));
        }
        Ok(())
    }
}

impl UserService {
    pub fn new(
        (db, clock): (Db, Clock),
        passwords: Passwords,
        (sessions, standings): (Sessions, Standings),
        (directory, activities): (Directory, ActivityService),
        invitations_count_after: InvitationsCountAfter,
    ) -> Self {
        Self {
            db,
            clock,
            passwords,
            sessions,
            standings,
            directory,
            activities,
            invitations_count_after,
        }
    }

    /// Creates an account. Its inviter is credited now or when the account does something, by the settings.
    pub async fn create(&self, new: NewUser) -> Result<User, UserError> {
        if new.password.is_of(&new.email) {
            return Err(UserError::PasswordIsEmail);
        }
        let password_hash = self.passwords.hash(Caller::Unknown, new.password).await?;
        let mut tx = self.db.begin().await?;
        let invited_by = match &new.invite_code {
            Some(code) => Some(self.inviter(&mut tx, code).await?),
            None => None,
        };
        let user = UserRow {
            id: self.clock.new_id(),
            email: Some(new.email.to_string()),
            external_id: None,
            role: new.role,
            invite_code: Some(invite::mint(&self.clock)),
            invited_by,
            disabled: false,
            created_at: self.clock.now(),
        };
        if !store::insert(&mut tx, &user, new.email.key(), password_hash).await? {
            return Err(UserError::EmailTaken(new.email));
        }
        let registered = OwnActivity {
            user_id: user.id,
            kind: "user.registered",
            source_id: format!("user.registered:{}", user.id),
            occurred_at: user.created_at,
            attributes: BTreeMap::new(),
        };
        self.activities.record_own(&mut tx, registered).await?;
        if let Some(inviter) = invited_by {
            match self.invitations_count_after {
                InvitationsCountAfter::Registration => {
                    self.activities
                        .credit(&mut tx, user.id, inviter, user.created_at)
                        .await?;
                }
                InvitationsCountAfter::Activity => {
                    self.activities.credit_later(&mut tx, user.id, inviter).await?;
                }
            }
        }
        let created = Entry::about("user", &user.id)
            .field("role", None::<Role>, user.role)
            .field("invitedBy", None::<Uuid>, invited_by);
        audit::record(&mut tx, &self.clock, created).await?;
        if new.confirms_email {
            store::mails::set_unconfirmed(&mut tx, user.id, true).await?;
            mail_queue::add(&mut tx, &self.clock, MailKind::EmailConfirmation, &new.email).await?;
        }
        tx.commit().await?;
        Ok(user.into())
    }

    async fn inviter(&self, tx: &mut Tx, code: &str) -> Result<Uuid, UserError> {
        let code = invite::read(code).ok_or(UserError::NoSuchInvite)?;
        store::find_inviter(tx, code).await?.ok_or(UserError::NoSuchInvite)
    }

    /// The enabled account with this e-mail and password. All other cases are `None` and cost the same. The audit log
    /// names the account that an attempt was about, also when it failed.
    pub async fn with_credentials(
        &self,
        by: Caller,
        email: &str,
        password: SecretString,
    ) -> Result<Option<Uuid>, UserError> {
        let found = match email.parse::<Email>() {
            Ok(email) => store::find_credentials(&self.db, email.key()).await?,
            Err(_) => None,
        };
        let hash = found.as_ref().and_then(|row| row.password_hash.clone());
        if let Some(row) = &found {
            audit::about("user", &row.id);
        }
        let fits = self.passwords.verify(by, password, hash).await?;
        Ok(found.filter(|row| fits && !row.disabled).map(|row| row.id))
    }

    pub async fn find(&self, id: Uuid) -> Result<Option<User>, UserError> {
        Ok(store::find(&self.db, id).await?.map(User::from))
    }

    /// Reads an account and locks it against changes until the transaction ends. Part of the caller's transaction.
    pub async fn hold(&self, tx: &mut Tx, id: Uuid) -> Result<Option<User>, UserError> {
        Ok(store::hold(tx, id).await?.map(User::from))
    }

    pub async fn get(&self, id: Uuid) -> Result<UserDetails, UserError> {
        let user = self.find(id).await?.ok_or(UserError::NotFound(id.into()))?;
        let attributes = self.attributes(id).await?;
        Ok(UserDetails { user, attributes })
    }

    /// A user's current attributes.
    pub async fn attributes(&self, id: Uuid) -> Result<BTreeMap<String, String>, UserError> {
        let newest = attributes::newest(&self.db, &[id]).await?;
        Ok(newest
            .into_iter()
            .filter_map(|row| Some((row.name, row.value?)))
            .collect())
    }

    /// Newest first, up to `size + 1`, so that the caller knows whether more exist.
    pub async fn list(&self, filter: Filter, after: Option<Uuid>, size: u32) -> Result<Vec<User>, UserError> {
        let rows = store::list(&self.db, filter, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(User::from).collect())
    }

    /// Changes the role or disables an account; both end its sessions immediately.
    pub async fn change(&self, id: Uuid, change: UserChange, by: &Principal) -> Result<User, UserError> {
        let mut tx = self.db.begin().await?;
        // All ADMINs are locked before the change, so that two ADMINs cannot demote each other at the same time.
        let admins = store::lock_enabled_admins(&mut tx).await?;
        let before = store::lock(&mut tx, id).await?.ok_or(UserError::NotFound(id.into()))?;
        before.require_changeable(by)?;
        if erasures::find(&mut tx, id).await?.is_some() {
            return Err(UserError::ErasurePending(id));
        }
        let after = UserRow {
            role: change.role.unwrap_or(before.role),
            disabled: change.disabled.unwrap_or(before.disabled),
            ..before.clone()
        };
        if admins == [id] && (after.role != Role::Admin || after.disabled) {
            return Err(UserError::LastAdmin(id));
        }
        store::update(&mut tx, &after).await?;
        if (before.role, before.disabled) != (after.role, after.disabled) {
            let changed = Entry::about("user", &id).between(&User::from(before.clone()), &User::from(after.clone()));
            audit::record(&mut tx, &self.clock, changed).await?;
        }
        let reason = if after.disabled && !before.disabled {
            Some(EndReason::UserDisabled)
        } else if after.role != before.role {
            Some(EndReason::RoleChanged)
        } else {
            None
        };
        let ended = match reason {
            Some(reason) => Some(self.sessions.end_all(&mut tx, id, reason).await?),
            None => None,
        };
        tx.commit().await?;
        if let Some(ended) = ended {
            self.sessions.refuse(ended).await;
        }
        self.standings.drop_copies(id).await;
        Ok(after.into())
    }

    /// Another process changed a user.
    pub async fn on_invalidation(&self, invalidation: &Invalidation) {
        self.standings.on_invalidation(invalidation).await;
    }

    /// The account that a request names; `None` if there is none.
    pub async fn resolve(&self, user: &UserRef) -> Result<Option<Account>, UserError> {
        Ok(self.directory.resolve(user).await?)
    }

    /// The id of the user that a request names. An error if no user has the external id.
    pub async fn id_of(&self, user: UserRef) -> Result<Uuid, UserError> {
        let found = self.directory.id_of(&user).await?;
        found.ok_or(UserError::NotFound(user))
    }

    /// Replaces all attributes of a user. Their earlier values stay readable as of earlier instants.
    pub async fn set_attributes(&self, id: Uuid, new: Attributes, by: Uuid) -> Result<UserAttributes, UserError> {
        let mut tx = self.db.begin().await?;
        let user = store::lock(&mut tx, id).await?;
        user.filter(|user| !user.is_erased())
            .ok_or(UserError::NotFound(id.into()))?;
        let given = new.0.clone();
        let current = attributes::newest(&mut tx, &[id]).await?;
        let rows = Replacement::of(&self.clock, id, current, new);
        let entry = rows.note(Entry::about("user", &id));
        attributes::add(&mut tx, rows.rows, Some(by)).await?;
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        Ok(UserAttributes { id, attributes: given })
    }
}
