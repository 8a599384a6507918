//! Rules for make-goods: what can be proposed, changed and taken back; and the one function that tells about a change.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::content;
use super::error::MakeGoodError;
use super::model::{Entry, MakeGood, NewMakeGood, Shortage};
use super::state::{EntryState, State};
use super::store::{self, MakeGoodRow, entries};
use super::terms::{Condition, Counts};
use crate::audit;
use crate::auth::Principal;
use crate::claims::{Claims, Status};
use crate::clock::{Clock, Timestamp};
use crate::correlation;
use crate::db::{Db, Json, Tx};
use crate::events::{Event, EventError, EventService};
use crate::outbox::{self, Message};
use crate::rewards;
use crate::service_keys::ServiceKeyService;

/// The longest period.
const MAX_PERIOD: Duration = Duration::from_hours(400 * 24);
/// The name of the task in the audit log.
pub(super) const TASK: &str = "make-good";

/// Wired by `app`; cheap to clone.
#[derive(Clone)]
pub struct MakeGoodService {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) events: EventService,
    pub(super) claims: Claims,
    keys: ServiceKeyService,
}

impl MakeGoodService {
    pub fn new((db, clock): (Db, Clock), events: EventService, claims: Claims, keys: ServiceKeyService) -> Self {
        Self {
            db,
            clock,
            events,
            claims,
            keys,
        }
    }

    /// The person who answers for what a principal proposes: of a service key the one who made it.
    async fn person(&self, principal: &Principal) -> Result<Uuid, MakeGoodError> {
        let person = match principal {
            Principal::User { id, .. } => Some(*id),
            Principal::ServiceKey(holder) => self.keys.get(holder.id).await?.created_by,
        };
        person.ok_or(MakeGoodError::KeyWithoutPerson)
    }

    /// Asks the condition that the event has now about the claims of a period. A background task does it.
    pub(super) async fn create(
        &self,
        event_id: Uuid,
        new: NewMakeGood,
        principal: &Principal,
    ) -> Result<MakeGood, MakeGoodError> {
        let author = self.person(principal).await?;
        let event = self.events.get(event_id).await?;
        if !event.is_active {
            return Err(MakeGoodError::Inactive);
        }
        let now = self.clock.now();
        let (from, to) = period(&new, &event, now)?;
        let first = if new.reversals {
            Status::Granted
        } else {
            Status::Rejected
        };
        let row = MakeGoodRow {
            id: self.clock.new_id(),
            event_id,
            state: State::Proposing,
            title: new.title,
            from_at: from,
            to_at: to,
            known_by: now,
            condition: Json(condition_of(&event)),
            reversals: new.reversals,
            looked_at: first.to_string(),
            last_claim: None,
            counts: Json(Counts::default()),
            hash: None,
            authors: Json(vec![author]),
            created_by: principal.id(),
            created_at: now,
            updated_at: now,
            approved_by: None,
            approved_at: None,
            reason: None,
        };
        let mut tx = self.db.begin().await?;
        if !store::insert(&mut tx, row.clone()).await? {
            drop(tx);
            let other = store::open(&self.db, event_id).await?.unwrap_or_default();
            return Err(MakeGoodError::Open { event: event_id, other });
        }
        let entry = audit::Entry::about("make-good", &row.id).between(&(), &MakeGood::from(row.clone()));
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        Ok(row.into())
    }

    pub(super) async fn get(&self, id: Uuid) -> Result<MakeGood, MakeGoodError> {
        let row = store::find(&self.db, id).await?.ok_or(MakeGoodError::NotFound(id))?;
        let mut make_good = MakeGood::from(row);
        if make_good.state == State::Proposed {
            make_good.shortages = Some(self.shortages(&make_good).await?);
        }
        Ok(make_good)
    }

    async fn shortages(&self, make_good: &MakeGood) -> Result<Vec<Shortage>, MakeGoodError> {
        let offered = rewards::offered(&self.db, make_good.event_id).await;
        let rewards = offered.map_err(EventError::from)?;
        let short = rewards.iter().filter_map(|reward| {
            let (needed, left) = (
                make_good.counts.units.get(&reward.id.to_string())?,
                reward.stock_remaining?,
            );
            (*needed > left).then_some(Shortage {
                reward_id: reward.id,
                needed: *needed,
                left,
            })
        });
        Ok(short.collect())
    }

    /// Those of an event, newest first, up to `size + 1`.
    pub(super) async fn list(
        &self,
        event_id: Uuid,
        before: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<MakeGood>, MakeGoodError> {
        let rows = store::list(&self.db, event_id, before, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(MakeGood::from).collect())
    }

    /// In the order of their ids, up to `size + 1`.
    pub(super) async fn entries(
        &self,
        id: Uuid,
        state: Option<EntryState>,
        after: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<Entry>, MakeGoodError> {
        let (after, limit) = (after.unwrap_or_default(), i64::from(size) + 1);
        let rows = match state {
            Some(state) => entries::in_state(&self.db, id, state, after, limit).await?,
            None => entries::page(&self.db, id, after, limit).await?,
        };
        if rows.is_empty() && store::find(&self.db, id).await?.is_none() {
            return Err(MakeGoodError::NotFound(id));
        }
        Ok(rows.into_iter().map(Entry::from).collect())
    }

    /// Takes entries out of a proposal, whose hash is another one then. The person is one of its authors.
    pub(super) async fn exclude(
        &self,
        id: Uuid,
        entry_ids: &[Uuid],
        principal: &Principal,
    ) -> Result<MakeGood, MakeGoodError> {
        let author = self.person(principal).await?;
        let mut tx = self.db.begin().await?;
        let before = self.lock(&mut tx, id).await?;
        if before.state != State::Proposed {
            let (is, wanted) = (before.state, "changed");
            return Err(MakeGoodError::State { is, wanted });
        }
        let now = self.clock.now();
        for entry_id in entry_ids {
            let entry = entries::find(&mut tx, id, *entry_id).await?;
            let entry = entry.ok_or(MakeGoodError::NoEntry(id, *entry_id))?;
            entries::end(&mut tx, (entry.user_id, entry.id), EntryState::Excluded, None, now).await?;
        }
        let mut after = before.clone();
        if !after.authors.0.contains(&author) {
            after.authors.0.push(author);
        }
        content::summary(&mut tx, &after).await?.write_to(&mut after);
        let make_good = self.change(&mut tx, &before, after, None).await?;
        tx.commit().await?;
        Ok(make_good)
    }

    /// Takes back a make-good of which nothing was applied yet.
    pub(super) async fn withdraw(&self, id: Uuid, reason: String) -> Result<MakeGood, MakeGoodError> {
        let mut tx = self.db.begin().await?;
        let before = self.lock(&mut tx, id).await?;
        if !before.state.can_be_withdrawn() {
            let (is, wanted) = (before.state, "withdrawn");
            return Err(MakeGoodError::State { is, wanted });
        }
        let after = MakeGoodRow {
            state: State::Withdrawn,
            reason: Some(reason),
            ..before.clone()
        };
        let make_good = self.change(&mut tx, &before, after, None).await?;
        tx.commit().await?;
        Ok(make_good)
    }

    pub(super) async fn lock(&self, tx: &mut Tx, id: Uuid) -> Result<MakeGoodRow, MakeGoodError> {
        store::lock(tx, id).await?.ok_or(MakeGoodError::NotFound(id))
    }

    /// Ends a make-good that cannot go on. Part of the caller's transaction, which holds the lock of the row.
    pub(super) async fn fail(&self, tx: &mut Tx, before: &MakeGoodRow, reason: String) -> Result<(), MakeGoodError> {
        tracing::error!(make_good.id = %before.id, event.id = %before.event_id, reason, "make-good failed");
        let after = MakeGoodRow {
            state: State::Failed,
            reason: Some(reason),
            ..before.clone()
        };
        self.change(tx, before, after, Some(TASK)).await.map(drop)
    }

    /// Writes a change with its message and audit entry. `task`: the server makes it. Part of the caller's transaction, which
    /// holds the lock of the row.
    pub(super) async fn change(
        &self,
        tx: &mut Tx,
        before: &MakeGoodRow,
        mut after: MakeGoodRow,
        task: Option<&'static str>,
    ) -> Result<MakeGood, MakeGoodError> {
        after.updated_at = self.clock.now().max(before.updated_at.plus(Duration::from_millis(1)));
        store::update(tx, after.clone()).await?;
        if let Some(kind) = message_kind(after.state).filter(|_| before.state != after.state) {
            let message = Message {
                id: self.clock.new_id(),
                kind,
                user_id: None,
                subject_id: Some(after.event_id),
                payload: json!({
                    "makeGoodId": after.id, "eventId": after.event_id, "state": after.state, "title": after.title,
                    "hash": after.hash, "grants": after.counts.0.grants, "reversals": after.counts.0.reversals,
                    "applied": after.counts.0.applied, "skipped": after.counts.0.skipped, "reason": after.reason,
                    "at": after.updated_at,
                }),
                http_request_id: correlation::current(),
                created_at: after.updated_at,
                once_key: Some(format!("{}/{}", after.id, after.state)),
            };
            outbox::write(tx, message).await?;
        }
        let (old, new) = (MakeGood::from(before.clone()), MakeGood::from(after));
        let entry = audit::Entry::about("make-good", &new.id).between(&old, &new);
        let entry = match task {
            Some(task) => entry.by_server(task),
            None => entry,
        };
        audit::record(tx, &self.clock, entry).await?;
        tracing::info!(make_good.id = %new.id, event.id = %new.event_id, state = %new.state, "make-good");
        Ok(new)
    }

    /// Whether the event still has the condition that was asked.
    pub(super) fn is_as_asked(row: &MakeGoodRow, event: &Event) -> bool {
        let (is, asked) = (&event.condition, &row.condition.0);
        (is.digest, &is.params) == (asked.digest, &asked.params)
    }
}

fn condition_of(event: &Event) -> Condition {
    let condition = &event.condition;
    Condition {
        plugin: condition.plugin.clone(),
        version: condition.version.clone(),
        digest: condition.digest,
        params: condition.params.clone(),
    }
}

fn period(new: &NewMakeGood, event: &Event, now: Timestamp) -> Result<(Timestamp, Timestamp), MakeGoodError> {
    let from = new.from.unwrap_or(event.start_date);
    let to = new.to.unwrap_or(event.end_date).min(now);
    let field = |pointer, message| Err(MakeGoodError::Field { pointer, message });
    if from >= to {
        return field("/from", format!("{from} is not before the end of the period, {to}"));
    }
    if from.plus(MAX_PERIOD) < to {
        let days = MAX_PERIOD.as_secs() / 86_400;
        return field(
            "/to",
            format!("the period is longer than {days} days; choose a shorter one"),
        );
    }
    Ok((from, to))
}

fn message_kind(state: State) -> Option<&'static str> {
    Some(match state {
        State::Proposing | State::Applying => return None,
        State::Proposed => outbox::MAKE_GOOD_PROPOSED,
        State::Approved => outbox::MAKE_GOOD_APPROVED,
        State::Applied => outbox::MAKE_GOOD_APPLIED,
        State::Failed => outbox::MAKE_GOOD_FAILED,
        State::Withdrawn => outbox::MAKE_GOOD_WITHDRAWN,
    })
}
