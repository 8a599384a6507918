//! Mails about accounts: asking for one, and sending those that wait.
//!
//! A request only stores that a mail is wanted, whether or not the address has an account, so its answer and its duration
//! tell nothing. The background task looks up the account, makes the token and sends the mail; no token is stored.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::account::{self, TOKEN_LIFETIME};
use super::mail::{MailKind, MailState};
use super::store::{self, mails};
use super::{Email, UserError, UserService, mail_queue};
use crate::audit::{self, Entry};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::db::Db;
use crate::mail::{Mail, MailError, Mailer};

/// Mails of one run of the task.
const SENT_AT_ONCE: i64 = 5;
/// Longer than an attempt takes. Afterwards another process may attempt the mail.
const ATTEMPT: Duration = Duration::from_mins(2);
/// The pauses before further attempts; about a day together.
const RETRIES: [Duration; 6] = [
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(6),
    Duration::from_hours(16),
];
/// How long a mail is remembered, without its content.
const RETENTION: Duration = Duration::from_hours(7 * 24);
const DELETED_AT_ONCE: i64 = 500;
/// The name of the task in the audit log.
const TASK: &str = "mail-sender";

/// Wired by `app`; cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailing(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    db: Db,
    clock: Clock,
    users: UserService,
    /// `None`: this server sends no mails.
    mailer: Option<Mailer>,
    confirms: bool,
    reset_page: String,
    confirmation_page: String,
    installation: String,
}

impl Mailing {
    pub fn new(
        settings: &config::Mail,
        installation: String,
        users: UserService,
        mailer: Option<Mailer>,
        (db, clock): (Db, Clock),
    ) -> Self {
        Self(Arc::new(Parts {
            db,
            clock,
            users,
            confirms: mailer.is_some() && settings.confirm_registrations,
            mailer,
            reset_page: settings.reset_page.clone(),
            confirmation_page: settings.confirmation_page.clone(),
            installation,
        }))
    }

    /// Whether an account must confirm its e-mail before its first login.
    pub(super) fn confirms(&self) -> bool {
        self.0.confirms
    }

    /// Wants a mail to this address, if an account needs it.
    pub(super) async fn ask(&self, kind: MailKind, email: &Email) -> Result<(), UserError> {
        if self.0.mailer.is_none() {
            return Err(UserError::NoMail);
        }
        let mut tx = self.0.db.begin().await?;
        mail_queue::add(&mut tx, &self.0.clock, kind, email).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Confirms the e-mail of an account with the token of a mail.
    pub(super) async fn confirm(&self, token: &SecretString) -> Result<(), UserError> {
        let (user_id, secret) = account::parse(token.expose_secret()).ok_or(UserError::InvalidConfirmation)?;
        let hash = account::hash(&secret);
        let mut tx = self.0.db.begin().await?;
        if !mails::take_confirmation(&mut tx, user_id, hash, self.0.clock.now()).await? {
            return Err(UserError::InvalidConfirmation);
        }
        mails::set_unconfirmed(&mut tx, user_id, false).await?;
        let entry = Entry::about("user", &user_id).field("emailConfirmed", false, true);
        audit::record(&mut tx, &self.0.clock, entry).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Attempts the mails that are due, and returns how many it attempted. Other processes attempt others.
    pub async fn send_due(&self) -> Result<usize, UserError> {
        let parts = &*self.0;
        let Some(mailer) = &parts.mailer else { return Ok(0) };
        let mut attempted = 0;
        for row in mails::due(&parts.db, parts.clock.now(), SENT_AT_ONCE).await? {
            let mut tx = parts.db.begin().await?;
            let until = parts.clock.now().plus(ATTEMPT);
            let taken = mails::take(&mut tx, &row, until).await?;
            tx.commit().await?;
            if !taken {
                continue;
            }
            attempted += 1;
            let outcome = match self.compose(&row).await? {
                None => Outcome::Dropped,
                Some(mail) => match mailer.send(mail).await {
                    Ok(()) => Outcome::Sent,
                    Err(MailError::Refused(answer)) => Outcome::Refused(answer),
                    Err(MailError::Failed(why)) => Outcome::Failed(why),
                },
            };
            self.end_attempt(&row, outcome).await?;
        }
        Ok(attempted)
    }

    /// The mail with a new token; `None` if no account needs it any more.
    async fn compose(&self, row: &mails::MailRow) -> Result<Option<Mail>, UserError> {
        let parts = &*self.0;
        let Some(found) = store::find_credentials(&parts.db, row.email_key.clone()).await? else {
            return Ok(None);
        };
        // To the stored address: the spelling in the request could be another mailbox.
        let account = store::find(&parts.db, found.id).await?;
        let Some(account) = account.filter(|account| !account.disabled) else {
            return Ok(None);
        };
        let Some(email) = account.email else { return Ok(None) };
        let (page, token) = match row.kind {
            MailKind::PasswordReset => {
                let reset = parts.users.permit_reset_by_mail(account.id, TASK).await?;
                (&parts.reset_page, reset.token)
            }
            MailKind::EmailConfirmation => {
                if !mails::is_unconfirmed(&parts.db, account.id).await? {
                    return Ok(None);
                }
                (&parts.confirmation_page, self.permit_confirmation(account.id).await?)
            }
        };
        Ok(Some(Mail {
            id: row.id,
            to: email,
            subject: row.kind.subject(),
            text: row.kind.text(&parts.installation, page, &token),
            secret: token.into(),
        }))
    }

    /// A token that confirms the e-mail of a user. An earlier one becomes invalid.
    async fn permit_confirmation(&self, user_id: Uuid) -> Result<String, UserError> {
        let parts = &*self.0;
        let secret = parts.clock.random::<{ account::SECRET_BYTES }>();
        let expires_at = parts.clock.now().plus(TOKEN_LIFETIME);
        let mut tx = parts.db.begin().await?;
        mails::put_confirmation(&mut tx, user_id, account::hash(&secret), expires_at).await?;
        tx.commit().await?;
        Ok(account::token(user_id, &secret))
    }

    async fn end_attempt(&self, row: &mails::MailRow, outcome: Outcome) -> Result<(), UserError> {
        let now = self.0.clock.now();
        let pause = usize::try_from(row.attempts)
            .ok()
            .and_then(|attempts| RETRIES.get(attempts));
        let (state, next_at, error) = match outcome {
            Outcome::Sent => (MailState::Sent, now, None),
            Outcome::Dropped => (MailState::Dropped, now, None),
            Outcome::Refused(answer) => (MailState::Failed, now, Some(answer)),
            Outcome::Failed(why) => match pause {
                Some(pause) => (MailState::Pending, now.plus(*pause), Some(why)),
                None => (MailState::Failed, now, Some(why)),
            },
        };
        metrics::counter!("meed_mails_total", "outcome" => outcome_name(state)).increment(1);
        if let Some(error) = &error {
            tracing::warn!(mail.id = %row.id, attempt = row.attempts + 1, error, %state, "mail not sent");
        }
        let mut tx = self.0.db.begin().await?;
        mails::end_attempt(&mut tx, row.id, state, next_at, error).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Deletes old mails in short transactions, and returns their number.
    pub async fn prune(&self) -> Result<u64, UserError> {
        let cutoff: Timestamp = self.0.clock.now().minus(RETENTION);
        let (mut deleted, mut after) = (0, Uuid::nil());
        while let Some((last,)) = mails::old(&self.0.db, after, cutoff, DELETED_AT_ONCE).await?.pop() {
            let mut tx = self.0.db.begin().await?;
            deleted += mails::delete(&mut tx, after, last).await?;
            tx.commit().await?;
            after = last;
        }
        Ok(deleted)
    }
}

/// How an attempt ended.
enum Outcome {
    Sent,
    Dropped,
    Refused(String),
    Failed(String),
}

/// The value of the metric's label.
fn outcome_name(state: MailState) -> String {
    match state {
        MailState::Pending => "RETRIED".to_owned(),
        ended => ended.to_string(),
    }
}
