//! Mails that wait to be sent, bounded, so that a client can flood neither a mailbox nor the table.

use std::time::Duration;

use super::Email;
use super::mail::MailKind;
use super::store::mails;
use crate::clock::Clock;
use crate::db::{DbError, Tx};

/// Mails to one address within these times; further ones are not sent.
const PER_ADDRESS: [(i64, Duration); 2] = [(3, Duration::from_hours(1)), (10, Duration::from_hours(24))];
/// Mails that may wait; further ones are not sent.
const MAX_PENDING: i64 = 1_000;

/// Wants a mail to this address, if an account needs it. Beyond the limits nothing happens, and nothing tells so.
pub(super) async fn add(tx: &mut Tx, clock: &Clock, kind: MailKind, email: &Email) -> Result<(), DbError> {
    let now = clock.now();
    // Concurrent requests for one address must see each other.
    mails::lock_address(tx, email.key()).await?;
    let mut is_full = mails::count_pending(&mut *tx, MAX_PENDING).await? >= MAX_PENDING;
    for (limit, window) in PER_ADDRESS {
        is_full = is_full || mails::count_since(&mut *tx, email.key(), now.minus(window), limit).await? >= limit;
    }
    if is_full {
        metrics::counter!("meed_mails_total", "outcome" => "LIMITED").increment(1);
        return Ok(());
    }
    let row = mails::MailRow {
        id: clock.new_id(),
        kind,
        email_key: email.key(),
        attempts: 0,
        next_at: now,
    };
    mails::insert(tx, &row, now).await
}
