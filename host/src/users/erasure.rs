//! Export and erasure of users.
//!
//! An erasure is asked for, and the account is disabled at once. After the grace period the background task erases the names
//! and credentials in one transaction, and then what each feature holds in many short ones. It is complete when a run that
//! began a minute later finds nothing: by then, every transaction that knew the user has ended.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::store::{self, erasures};
use super::{UserError, UserService};
use crate::audit::{self, Entry};
use crate::auth::{EndReason, Principal};
use crate::clock::Timestamp;
use crate::personal_data::{Holders, Item};

/// The name of the task in the audit log.
const TASK: &str = "user-erasure";
/// Erasures of one run.
const AT_ONCE: i64 = 20;
/// Longer than any transaction takes.
const SETTLED_AFTER: Duration = Duration::from_mins(1);

/// A user's erasure.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    pub user_id: Uuid,
    pub requested_at: Timestamp,
    /// From then on it cannot be cancelled
    pub due_at: Timestamp,
    /// When everything was erased; null until then
    pub completed_at: Option<Timestamp>,
}

impl From<erasures::ErasureRow> for Erasure {
    fn from(row: erasures::ErasureRow) -> Self {
        Self {
            user_id: row.user_id,
            requested_at: row.requested_at,
            due_at: row.due_at,
            completed_at: row.completed_at,
        }
    }
}

/// Wired by `app`; cheap to clone.
#[derive(Clone)]
pub struct Erasures {
    users: UserService,
    holders: Holders,
    grace: Duration,
}

/// Where an export continues: the holder, and its position.
pub(super) type Position = (usize, Option<Value>);

impl Erasures {
    pub fn new(users: UserService, holders: Holders, grace: Duration) -> Self {
        Self { users, holders, grace }
    }

    pub(super) fn users(&self) -> &UserService {
        &self.users
    }

    /// The next items of an export; `None` at its end.
    pub(super) async fn export(
        &self,
        user: Uuid,
        (index, after): Position,
    ) -> anyhow::Result<Option<(Vec<Item>, Position)>> {
        let Some(holder) = self.holders.get(index).map(Arc::clone) else {
            return Ok(None);
        };
        let shown = holder.show(user, after).await?;
        let next = match shown.next {
            Some(next) => (index, Some(next)),
            None => (index + 1, None),
        };
        Ok(Some((shown.items, next)))
    }

    pub(super) async fn state(&self, user_id: Uuid) -> Result<Erasure, UserError> {
        let found = erasures::find(&self.users.db, user_id).await?;
        Ok(found.ok_or(UserError::NoErasure(user_id))?.into())
    }

    /// Asks for the erasure: the account is disabled and its sessions end at once. Asking again changes nothing.
    pub async fn request(&self, user_id: Uuid, by: &Principal) -> Result<Erasure, UserError> {
        let users = &self.users;
        let now = users.clock.now();
        let mut tx = users.db.begin().await?;
        // As for a change of the account.
        let admins = store::lock_enabled_admins(&mut tx).await?;
        let user = store::lock(&mut tx, user_id).await?;
        let user = user.ok_or(UserError::NotFound(user_id.into()))?;
        user.require_changeable(by)?;
        if let Some(found) = erasures::find(&mut tx, user_id).await? {
            return Ok(found.into());
        }
        if admins == [user_id] {
            return Err(UserError::LastAdmin(user_id));
        }
        let row = erasures::ErasureRow {
            user_id,
            requested_at: now,
            due_at: now.plus(self.grace),
            was_disabled: user.disabled,
            begun_at: None,
            completed_at: None,
        };
        erasures::insert(&mut tx, &row, by.id()).await?;
        let disabled = store::UserRow { disabled: true, ..user };
        store::update(&mut tx, &disabled).await?;
        let ended = users
            .sessions
            .end_all(&mut tx, user_id, EndReason::UserDisabled)
            .await?;
        let entry = Entry::about("user", &user_id).field("erasureDue", None::<Timestamp>, row.due_at);
        audit::record(&mut tx, &users.clock, entry).await?;
        tx.commit().await?;
        users.sessions.refuse(ended).await;
        users.standings.drop_copies(user_id).await;
        Ok(row.into())
    }

    /// Cancels an erasure that has not begun. The account is enabled again, if it was before.
    pub async fn cancel(&self, user_id: Uuid, by: &Principal) -> Result<(), UserError> {
        let users = &self.users;
        let mut tx = users.db.begin().await?;
        let user = store::lock(&mut tx, user_id).await?;
        let user = user.ok_or(UserError::NotFound(user_id.into()))?;
        user.require_changeable(by)?;
        let row = erasures::find(&mut tx, user_id).await?;
        let row = row.ok_or(UserError::NoErasure(user_id))?;
        if !erasures::cancel(&mut tx, user_id).await? {
            return Err(UserError::ErasureBegun(user_id));
        }
        let enabled = store::UserRow {
            disabled: row.was_disabled,
            ..user
        };
        store::update(&mut tx, &enabled).await?;
        let entry = Entry::about("user", &user_id).field("erasureDue", row.due_at, None::<Timestamp>);
        audit::record(&mut tx, &users.clock, entry).await?;
        tx.commit().await?;
        users.standings.drop_copies(user_id).await;
        Ok(())
    }

    /// Continues the erasures that are due, and returns how many are complete now. Other processes may do the same.
    pub async fn run(&self) -> anyhow::Result<u64> {
        let mut completed = 0;
        for row in erasures::due(&self.users.db, self.users.clock.now(), AT_ONCE).await? {
            completed += u64::from(self.erase(&row).await?);
        }
        Ok(completed)
    }

    async fn erase(&self, row: &erasures::ErasureRow) -> anyhow::Result<bool> {
        let users = &self.users;
        let now = users.clock.now();
        if row.begun_at.is_none() {
            let mut tx = users.db.begin().await?;
            let user = store::lock(&mut tx, row.user_id).await?;
            if !erasures::begin(&mut tx, row.user_id, now).await? {
                return Ok(false);
            }
            erasures::erase_account(&mut tx, row.user_id).await?;
            tx.commit().await?;
            if let Some(external) = user.and_then(|user| user.external_id) {
                users.directory.drop_copy(&external);
            }
        }
        let mut erased = 0;
        for holder in self.holders.iter() {
            let mut after = None;
            loop {
                let part = holder.erase(row.user_id, after).await?;
                erased += part.rows;
                let Some(next) = part.next else { break };
                after = Some(next);
            }
        }
        let settled = row.begun_at.is_some_and(|begun| begun.plus(SETTLED_AFTER) <= now);
        if erased > 0 || !settled {
            return Ok(false);
        }
        let mut tx = users.db.begin().await?;
        let completed = erasures::complete(&mut tx, row.user_id, now).await?;
        if completed {
            let entry = Entry::about("user", &row.user_id).field("erased", false, true);
            audit::record(&mut tx, &users.clock, entry.by_server(TASK)).await?;
        }
        tx.commit().await?;
        Ok(completed)
    }
}

/// One line of an export.
pub(super) fn line(item: &Item) -> Value {
    json!({"type": item.kind, "data": item.data})
}
