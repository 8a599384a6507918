//! The second factor of accounts: enrolment, confirmation, use and removal of time-based codes, and recovery codes.

use secrecy::SecretString;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::store::{self, second_factors};
use super::totp::{self, Code, Codes, SECRET_BYTES};
use super::{Email, UserError, UserService};
use crate::audit::{self, Entry};
use crate::auth::{AuthService, EndReason, Sessions};
use crate::cache::{Cache, Policy};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, Tx};
use crate::keys::{Place, Sealing};

/// Rows that one statement reads to seal their secrets again.
const RESEALED_AT_ONCE: i64 = 200;

/// The state of your second factor.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecondFactor {
    /// Whether a login needs a code
    pub active: bool,
    pub confirmed_at: Option<Timestamp>,
    #[schema(example = 10)]
    pub recovery_codes_left: i64,
}

/// A secret to put into an authenticator. It is not shown again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Enrolment {
    /// Show it as a QR code
    #[schema(example = "otpauth://totp/meed:ada%40example.com?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=meed")]
    pub otpauth_uri: String,
    /// The secret in it, in base 32
    #[schema(example = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")]
    pub secret: String,
}

/// Codes for when the authenticator is lost, each valid once. They are not shown again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecoveryCodes {
    #[schema(example = json!(["7k3m-9qxz-2b4c-8d6e"]))]
    pub recovery_codes: Vec<String>,
}

/// How a user proved who they are, besides the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The account has no second factor.
    PasswordOnly,
    TimeCode,
    RecoveryCode {
        left: i64,
    },
}

impl Proof {
    pub(super) fn is_second_factor(self) -> bool {
        self != Self::PasswordOnly
    }

    pub(super) fn note(self, entry: Entry) -> Entry {
        match self {
            Self::PasswordOnly => entry,
            Self::TimeCode => entry.field("secondFactor", None::<&str>, "TIME_CODE"),
            Self::RecoveryCode { left } => {
                entry
                    .field("secondFactor", None::<&str>, "RECOVERY_CODE")
                    .field("recoveryCodesLeft", left + 1, left)
            }
        }
    }
}

/// Wired by `app`; cheap to clone.
#[derive(Clone, Debug)]
pub struct SecondFactors {
    db: Db,
    clock: Clock,
    sealing: Sealing,
    cache: Cache,
    attempts: Option<Policy>,
    issuer: String,
    auth: AuthService,
    sessions: Sessions,
}

impl SecondFactors {
    /// `attempts` limits time codes: of one account at logins, and of one session at proofs within it. Recovery codes cannot be
    /// guessed and are not limited, so an attacker who knows the password does not lock the owner out.
    pub fn new(
        (db, clock): (Db, Clock),
        sealing: Sealing,
        (cache, attempts): (Cache, Option<Policy>),
        issuer: String,
        (auth, sessions): (AuthService, Sessions),
    ) -> Self {
        Self {
            db,
            clock,
            sealing,
            cache,
            attempts,
            issuer,
            auth,
            sessions,
        }
    }

    pub(super) async fn state(&self, user_id: Uuid) -> Result<SecondFactor, UserError> {
        let found = second_factors::find(&self.db, user_id).await?;
        let confirmed_at = found.and_then(|row| row.confirmed_at);
        Ok(SecondFactor {
            active: confirmed_at.is_some(),
            confirmed_at,
            recovery_codes_left: second_factors::count_recovery_codes(&self.db, user_id).await?,
        })
    }

    pub(super) async fn is_active(&self, user_id: Uuid) -> Result<bool, UserError> {
        let found = second_factors::find(&self.db, user_id).await?;
        Ok(found.is_some_and(|row| row.confirmed_at.is_some()))
    }

    /// Makes a secret. It does not count until a code of it is confirmed, and replaces an earlier unconfirmed one.
    pub(super) async fn enrol(&self, user_id: Uuid) -> Result<Enrolment, UserError> {
        let secret = self.clock.random::<SECRET_BYTES>();
        let sealed = self.sealing.seal(secret_of(user_id), &secret)?;
        let mut tx = self.db.begin().await?;
        let user = store::lock(&mut tx, user_id).await?;
        let user = user.ok_or(UserError::NotFound(user_id.into()))?;
        // The authenticator shows it. A colon would end the name of the issuer.
        let label = user.email.or(user.external_id.map(|id| id.replace(':', " ")));
        let label = label.ok_or(UserError::NoEmail(user_id))?;
        let earlier = second_factors::find(&mut tx, user_id).await?;
        if earlier.is_some_and(|row| row.confirmed_at.is_some()) {
            return Err(UserError::SecondFactorActive);
        }
        second_factors::put(&mut tx, user_id, sealed, self.clock.now()).await?;
        let entry = Entry::about("user", &user_id).field("secondFactor", None::<&str>, "UNCONFIRMED");
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        let codes = Codes::new(secret.to_vec(), &self.issuer, &label)?;
        Ok(Enrolment {
            otpauth_uri: codes.uri()?,
            secret: codes.secret(),
        })
    }

    /// Makes the secret count, and ends the user's other sessions, which were opened without a code.
    pub(super) async fn confirm(
        &self,
        (user_id, session): (Uuid, Uuid),
        typed: &SecretString,
    ) -> Result<RecoveryCodes, UserError> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        store::lock(&mut tx, user_id)
            .await?
            .ok_or(UserError::NotFound(user_id.into()))?;
        let row = second_factors::find(&mut tx, user_id).await?;
        let row = row.ok_or(UserError::NoSecondFactor)?;
        if row.confirmed_at.is_some() {
            return Err(UserError::SecondFactorActive);
        }
        let Code::Time(code) = Code::new(typed) else {
            return Err(UserError::UnconfirmedCode);
        };
        let step = self.codes(user_id, &row.secret)?.step(&code, now);
        let step = step.ok_or(UserError::UnconfirmedCode)?;
        if !second_factors::confirm(&mut tx, user_id, step, now).await? {
            return Err(UserError::SecondFactorActive);
        }
        let codes = self.replace_recovery_codes(&mut tx, user_id).await?;
        let reason = EndReason::SecondFactorChanged;
        let ended = self.sessions.end_others(&mut tx, user_id, session, reason).await?;
        self.auth.prove(&mut tx, (user_id, session), true).await?;
        let entry = Entry::about("user", &user_id).field("secondFactor", "UNCONFIRMED", "ACTIVE");
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        self.sessions.refuse(ended).await;
        self.sessions.reread(session).await;
        Ok(codes)
    }

    /// Replaces the recovery codes; the ones before are no longer valid.
    pub(super) async fn renew_recovery_codes(&self, user_id: Uuid) -> Result<RecoveryCodes, UserError> {
        let mut tx = self.db.begin().await?;
        store::lock(&mut tx, user_id)
            .await?
            .ok_or(UserError::NotFound(user_id.into()))?;
        let row = second_factors::find(&mut tx, user_id).await?;
        if row.is_none_or(|row| row.confirmed_at.is_none()) {
            return Err(UserError::NoSecondFactor);
        }
        let left = second_factors::count_recovery_codes(&mut tx, user_id).await?;
        let codes = self.replace_recovery_codes(&mut tx, user_id).await?;
        let entry = Entry::about("user", &user_id).field("recoveryCodesLeft", left, totp::RECOVERY_CODES);
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        Ok(codes)
    }

    async fn replace_recovery_codes(&self, tx: &mut Tx, user_id: Uuid) -> Result<RecoveryCodes, UserError> {
        second_factors::delete_recovery_codes(tx, user_id).await?;
        let recovery_codes = totp::recovery_codes(&self.clock);
        for shown in &recovery_codes {
            if let Code::Recovery(code) = Code::new(&shown.as_str().into()) {
                second_factors::insert_recovery_code(tx, user_id, totp::recovery_hash(user_id, &code)).await?;
            }
        }
        Ok(RecoveryCodes { recovery_codes })
    }

    /// Removes the own second factor, and ends the user's other sessions.
    pub(super) async fn remove(&self, (user_id, session): (Uuid, Uuid)) -> Result<(), UserError> {
        let mut tx = self.db.begin().await?;
        store::lock(&mut tx, user_id)
            .await?
            .ok_or(UserError::NotFound(user_id.into()))?;
        if !second_factors::delete(&mut tx, user_id).await? {
            return Err(UserError::NoSecondFactor);
        }
        let reason = EndReason::SecondFactorChanged;
        let ended = self.sessions.end_others(&mut tx, user_id, session, reason).await?;
        self.auth.prove(&mut tx, (user_id, session), false).await?;
        audit::record(&mut tx, &self.clock, removed(user_id)).await?;
        tx.commit().await?;
        self.sessions.refuse(ended).await;
        self.sessions.reread(session).await;
        Ok(())
    }

    /// Counts a time code before it is checked: at a login of this account, or within this session.
    pub(super) async fn count_attempt(&self, subject: Uuid, typed: Option<&SecretString>) -> Result<(), UserError> {
        let (Some(policy), Some(Code::Time(_))) = (&self.attempts, typed.map(Code::new)) else {
            return Ok(());
        };
        let limit = self.cache.check(policy, &subject.to_string(), self.clock.now()).await;
        if limit.allowed {
            return Ok(());
        }
        metrics::counter!("meed_rate_limited_total", "policy" => policy.name).increment(1);
        Err(UserError::TooManyCodes(limit))
    }

    /// Checks and uses up the code of a user whose password was right, or who has a session. Part of the caller's transaction,
    /// which must hold the account.
    pub(super) async fn prove(
        &self,
        tx: &mut Tx,
        user_id: Uuid,
        typed: Option<&SecretString>,
    ) -> Result<Proof, UserError> {
        let found = second_factors::find(&mut *tx, user_id).await?;
        let Some(row) = found.filter(|row| row.confirmed_at.is_some()) else {
            return Ok(Proof::PasswordOnly);
        };
        match Code::new(typed.ok_or(UserError::SecondFactorRequired)?) {
            Code::Time(code) => {
                let step = self.codes(user_id, &row.secret)?.step(&code, self.clock.now());
                let step = step.ok_or(UserError::WrongCode)?;
                if second_factors::use_step(tx, user_id, step).await? {
                    return Ok(Proof::TimeCode);
                }
            }
            Code::Recovery(code) => {
                let hash = totp::recovery_hash(user_id, &code);
                if second_factors::use_recovery_code(tx, user_id, hash).await? {
                    let left = second_factors::count_recovery_codes(tx, user_id).await?;
                    return Ok(Proof::RecoveryCode { left });
                }
            }
        }
        Err(UserError::WrongCode)
    }

    fn codes(&self, user_id: Uuid, sealed: &[u8]) -> Result<Codes, UserError> {
        let secret = self.sealing.open(secret_of(user_id), sealed)?;
        Ok(Codes::new(secret, &self.issuer, "")?)
    }
}

impl UserService {
    /// Removes the second factor of a user who lost it, with its recovery codes, and ends all sessions of the user.
    pub async fn remove_second_factor(&self, user_id: Uuid) -> Result<(), UserError> {
        let mut tx = self.db.begin().await?;
        store::lock(&mut tx, user_id)
            .await?
            .ok_or(UserError::NotFound(user_id.into()))?;
        if !second_factors::delete(&mut tx, user_id).await? {
            return Err(UserError::NoSecondFactor);
        }
        let reason = EndReason::SecondFactorChanged;
        let ended = self.sessions.end_all(&mut tx, user_id, reason).await?;
        audit::record(&mut tx, &self.clock, removed(user_id)).await?;
        tx.commit().await?;
        self.sessions.refuse(ended).await;
        Ok(())
    }

    /// The same for the account with this e-mail.
    pub async fn remove_second_factor_of(&self, email: &Email) -> Result<(), UserError> {
        let found = store::find_credentials(&self.db, email.key()).await?;
        let found = found.ok_or_else(|| UserError::NoSuchEmail(email.clone()))?;
        self.remove_second_factor(found.id).await
    }
}

/// Seals the secrets of all accounts with the newest key, and returns how many were sealed with an older one. Servers may run
/// meanwhile.
pub async fn reseal(db: &Db, sealing: &Sealing) -> Result<u64, UserError> {
    let (mut resealed, mut after) = (0, Uuid::nil());
    loop {
        let rows = second_factors::sealed(db, after, RESEALED_AT_ONCE).await?;
        let Some((last, _)) = rows.last() else {
            return Ok(resealed);
        };
        after = *last;
        for (user_id, old) in rows {
            let Some(new) = sealing.reseal(secret_of(user_id), &old)? else {
                continue;
            };
            let mut tx = db.begin().await?;
            second_factors::replace_secret(&mut tx, user_id, new, old).await?;
            tx.commit().await?;
            resealed += 1;
        }
    }
}

fn removed(user_id: Uuid) -> Entry {
    Entry::about("user", &user_id).field("secondFactor", "ACTIVE", None::<&str>)
}

fn secret_of(user_id: Uuid) -> Place {
    Place {
        table: "second_factors",
        column: "secret",
        row: user_id,
    }
}
