//! Proposals: what an author makes, changes, comments and takes back; and the one function that writes a transition.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::actor::Actor;
use super::content;
use super::error::ReleaseError;
use super::logged;
use super::model::{NewRelease, Release, ReleaseEntry};
use super::plan::Plan;
use super::state::{Action, State, transition};
use super::store::{self, EntryRow, Filter, ReleaseRow};
use crate::audit::{self, Entry};
use crate::backtests::BacktestService;
use crate::clock::{Clock, Timestamp};
use crate::correlation;
use crate::db::{Db, DbError, Json, Tx};
use crate::events::{Checked, Event, EventError, EventService, NewEvent};
use crate::outbox::{self, Message};
use crate::plugins::PluginService;
use crate::service_keys::ServiceKeyService;
use crate::transparency;
use crate::trials::TrialService;

/// The maximum number of open releases of one event.
const MOST_OPEN: i64 = 50;
/// Further comments are refused; transitions are not.
const MOST_ENTRIES: i64 = 1000;

/// Cheap to clone.
#[derive(Clone)]
pub struct ReleaseService {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) events: EventService,
    pub(super) plugins: PluginService,
    pub(super) keys: ServiceKeyService,
    pub(super) trials: TrialService,
    pub(super) backtests: BacktestService,
}

/// A proposal that the event would accept now.
struct Proposal {
    content: NewEvent,
    checked: Checked,
    report_digest: Option<String>,
}

/// A change of the state of a release, and its entry.
pub(super) struct Transition {
    pub action: Action,
    /// The principal; `None`: the server.
    pub by: Option<Uuid>,
    pub text: Option<String>,
}

impl ReleaseService {
    pub fn new(
        (db, clock): (Db, Clock),
        events: EventService,
        plugins: PluginService,
        keys: ServiceKeyService,
        (trials, backtests): (TrialService, BacktestService),
    ) -> Self {
        Self {
            db,
            clock,
            events,
            plugins,
            keys,
            trials,
            backtests,
        }
    }

    pub async fn create(&self, new: NewRelease, actor: Actor) -> Result<Release, ReleaseError> {
        let proposal = self.propose(&new, actor).await?;
        let now = self.clock.now();
        let state = if new.draft { State::Draft } else { State::Review };
        let row = ReleaseRow {
            id: self.clock.new_id(),
            event_id: new.event_id,
            revision: 1,
            state,
            title: new.title,
            content: Json(proposal.content),
            event_revision: new.event_revision,
            plugin_digest: proposal.checked.condition.digest,
            due_at: due_at(state, &new.plan, now),
            plan: Json(new.plan),
            backtest_id: new.backtest_id,
            report_digest: proposal.report_digest,
            waiver: None,
            waived_by: None,
            authors: Json(actor.person.into_iter().collect()),
            created_by: actor.id,
            created_at: now,
            updated_at: now,
            approved_hash: None,
            approved_by: None,
            approved_at: None,
            step: 0,
            step_at: None,
            trial_revision: None,
            previous_revision: None,
            reason: None,
            entries: 1,
        };
        let mut tx = self.db.begin().await?;
        if store::count_open(&mut tx, row.event_id).await? >= MOST_OPEN {
            let (event, count) = (row.event_id, MOST_OPEN);
            return Err(ReleaseError::TooMany { event, count });
        }
        store::insert(&mut tx, row.clone()).await?;
        let change = Transition {
            action: Action::Created,
            by: Some(actor.id),
            text: None,
        };
        let release = self.tell(&mut tx, None, row, change).await?;
        tx.commit().await?;
        Ok(release)
    }

    pub async fn get(&self, id: Uuid) -> Result<Release, ReleaseError> {
        let row = store::find(&self.db, id).await?;
        released(row.ok_or(ReleaseError::NotFound(id))?)
    }

    /// Newest first, up to `size + 1`.
    pub(super) async fn list(
        &self,
        filter: Filter,
        after: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<Release>, ReleaseError> {
        let rows = store::list(&self.db, filter, after, i64::from(size) + 1).await?;
        rows.into_iter().map(released).collect()
    }

    /// The comments and transitions of a release, newest first, up to `size + 1`.
    pub async fn entries(&self, id: Uuid, before: Option<i64>, size: u32) -> Result<Vec<ReleaseEntry>, ReleaseError> {
        let rows = store::entries(&self.db, id, before, i64::from(size) + 1).await?;
        if rows.is_empty() && before.is_none() {
            return Err(ReleaseError::NotFound(id));
        }
        Ok(rows.into_iter().map(ReleaseEntry::from).collect())
    }

    /// Replaces the content. An approval is void then, and the person is one of the authors.
    pub async fn edit(
        &self,
        id: Uuid,
        expected: Option<i64>,
        new: NewRelease,
        actor: Actor,
    ) -> Result<Release, ReleaseError> {
        let proposal = self.propose(&new, actor).await?;
        let mut tx = self.db.begin().await?;
        let row = self.lock(&mut tx, id, expected).await?;
        if row.event_id != new.event_id {
            return Err(ReleaseError::Field {
                pointer: "/eventId",
                message: format!("is {}; create another release for another event", row.event_id),
            });
        }
        let mut edited = ReleaseRow {
            title: new.title,
            content: Json(proposal.content),
            event_revision: new.event_revision,
            plugin_digest: proposal.checked.condition.digest,
            plan: Json(new.plan),
            backtest_id: new.backtest_id,
            report_digest: proposal.report_digest,
            ..row.clone()
        };
        if (edited.plugin_digest, &edited.content.0.condition.params)
            != (row.plugin_digest, &row.content.0.condition.params)
        {
            // Another condition was waived.
            (edited.waiver, edited.waived_by) = (None, None);
        }
        let release = self
            .step(&mut tx, row, written_by(edited, actor), made_by(Action::Edited, actor))
            .await?;
        tx.commit().await?;
        Ok(release)
    }

    pub async fn submit(&self, id: Uuid, actor: Actor) -> Result<Release, ReleaseError> {
        self.simple(id, made_by(Action::Submitted, actor)).await
    }

    pub async fn comment(&self, id: Uuid, text: String, actor: Actor) -> Result<(), ReleaseError> {
        let mut tx = self.db.begin().await?;
        let row = self.lock(&mut tx, id, None).await?;
        if row.entries >= MOST_ENTRIES {
            return Err(ReleaseError::TooManyComments(MOST_ENTRIES));
        }
        let mut commented = row.clone();
        commented.entries += 1;
        store::update(&mut tx, commented.clone()).await?;
        let change = Transition {
            text: Some(text),
            ..made_by(Action::Commented, actor)
        };
        self.tell(&mut tx, Some(&row), commented, change).await?;
        Ok(tx.commit().await?)
    }

    /// Lets a release be approved without a backtest. The reason is part of what is approved.
    pub async fn waive(&self, id: Uuid, reason: String, actor: Actor) -> Result<Release, ReleaseError> {
        let mut tx = self.db.begin().await?;
        let row = self.lock(&mut tx, id, None).await?;
        let waived = ReleaseRow {
            waiver: Some(reason.clone()),
            waived_by: Some(actor.id),
            ..row.clone()
        };
        let change = Transition {
            text: Some(reason),
            ..made_by(Action::Waived, actor)
        };
        let release = self.step(&mut tx, row, waived, change).await?;
        tx.commit().await?;
        Ok(release)
    }

    pub async fn reject(&self, id: Uuid, reason: String, actor: Actor) -> Result<Release, ReleaseError> {
        self.simple(id, because(Action::Rejected, reason, actor)).await
    }

    pub async fn withdraw(&self, id: Uuid, reason: String, actor: Actor) -> Result<Release, ReleaseError> {
        self.simple(id, because(Action::Withdrawn, reason, actor)).await
    }

    async fn simple(&self, id: Uuid, change: Transition) -> Result<Release, ReleaseError> {
        let mut tx = self.db.begin().await?;
        let row = self.lock(&mut tx, id, None).await?;
        let changed = ReleaseRow {
            reason: change.text.clone(),
            ..row.clone()
        };
        let release = self.step(&mut tx, row, changed, change).await?;
        tx.commit().await?;
        Ok(release)
    }

    /// Sets the gauge of the releases that wait for a person or run.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub async fn count(&self) -> Result<(), DbError> {
        let counts = store::count_by_state(&self.db).await?;
        for state in [State::Review, State::Approved, State::Ramping, State::Held] {
            let count = counts
                .iter()
                .find(|(other, _)| *other == state)
                .map_or(0, |(_, count)| *count);
            metrics::gauge!("meed_releases", "state" => state.to_string().to_lowercase()).set(count as f64);
        }
        Ok(())
    }

    /// Checks a proposal as if it became live now.
    async fn propose(&self, new: &NewRelease, actor: Actor) -> Result<Proposal, ReleaseError> {
        let event = self.events.get(new.event_id).await?;
        if event.revision != new.event_revision {
            let (is, expected) = (event.revision, new.event_revision);
            return Err(EventError::Changed { is, expected }.into());
        }
        let content = content_of(new, &event)?;
        let checked = self
            .events
            .checked(event.id, content.clone())
            .await
            .map_err(in_the_event)?;
        check_plan(&new.plan, &event, &checked)?;
        let condition = (event.id, checked.condition.digest, &checked.condition.params);
        let report_digest = match new.backtest_id {
            Some(backtest_id) => Some(self.report_of(backtest_id, condition).await?),
            None => None,
        };
        let mut trial = checked.clone();
        trial.new.accept_slow_reads = true;
        self.events
            .try_release(event.id, new.event_revision, trial, actor.id)
            .await
            .map_err(in_the_event)?;
        Ok(Proposal {
            content,
            checked,
            report_digest,
        })
    }

    /// Reads and locks a release at the expected revision.
    pub(super) async fn lock(&self, tx: &mut Tx, id: Uuid, expected: Option<i64>) -> Result<ReleaseRow, ReleaseError> {
        let row = store::lock(tx, id).await?.ok_or(ReleaseError::NotFound(id))?;
        match expected {
            Some(expected) if expected != row.revision => Err(ReleaseError::Changed {
                is: row.revision,
                expected,
            }),
            _ => Ok(row),
        }
    }

    /// Writes a transition with its entry, message and audit entry. The only function that changes a state. Part of the caller's
    /// transaction, which holds the lock of the row.
    pub(super) async fn step(
        &self,
        tx: &mut Tx,
        before: ReleaseRow,
        mut after: ReleaseRow,
        change: Transition,
    ) -> Result<Release, ReleaseError> {
        let (state, action) = (before.state, change.action);
        after.state = transition(state, action).ok_or(ReleaseError::WrongState { state, action })?;
        if !after.state.is_approved() {
            (after.approved_hash, after.approved_by, after.approved_at) = (None, None, None);
        }
        let now = self.clock.now();
        after.revision = before.revision + 1;
        after.entries = before.entries + 1;
        after.updated_at = now.max(before.updated_at.plus(Duration::from_millis(1)));
        if action != Action::ScheduleMissed && !after.state.is_running() {
            after.due_at = due_at(after.state, &after.plan.0, now);
        }
        store::update(tx, after.clone()).await?;
        self.tell(tx, Some(&before), after, change).await
    }

    async fn tell(
        &self,
        tx: &mut Tx,
        before: Option<&ReleaseRow>,
        row: ReleaseRow,
        change: Transition,
    ) -> Result<Release, ReleaseError> {
        let Transition { action, by, text } = change;
        let release = released(row.clone())?;
        let entry = EntryRow {
            number: row.entries,
            action,
            made_by: by,
            made_at: self.clock.now(),
            text: text.clone(),
            hash: release.hash.clone(),
        };
        let stored = logged::digest(&store::logged::stored(tx, row.id).await?);
        let leaf = self.clock.new_id();
        store::insert_entry(tx, row.id, entry, (leaf, stored)).await?;
        transparency::enqueue(tx, logged::QUEUED, leaf).await?;
        if let Some(kind) = message_kind(action) {
            let message = Message {
                id: self.clock.new_id(),
                kind,
                user_id: None,
                subject_id: Some(row.event_id),
                payload: json!({
                    "releaseId": row.id, "eventId": row.event_id, "revision": row.revision, "state": row.state,
                    "title": row.title, "hash": release.hash, "by": by, "at": row.updated_at, "text": text,
                }),
                http_request_id: correlation::current(),
                created_at: row.updated_at,
                once_key: None,
            };
            outbox::write(tx, message).await?;
        }
        let audited = Entry::about("release", &row.id)
            .field("action", None::<Action>, action)
            .field("text", None::<String>, &text);
        let audited = match before.map(|before| released(before.clone())).transpose()? {
            Some(before) => audited.between(&before, &release),
            None => audited.between(&(), &release),
        };
        let audited = match by {
            Some(_) => audited,
            None => audited.by_server("release"),
        };
        audit::record(tx, &self.clock, audited).await?;
        metrics::counter!("meed_release_actions_total", "action" => action.to_string().to_lowercase()).increment(1);
        tracing::info!(release.id = %row.id, event.id = %row.event_id, %action, state = %row.state, "release");
        Ok(release)
    }
}

/// When the server looks at a release in this state, which does not run. A time that has passed asks a person.
fn due_at(state: State, plan: &Plan, now: Timestamp) -> Option<Timestamp> {
    match state {
        State::Draft | State::Review => plan.activate_at.filter(|at| *at > now),
        State::Approved if plan.activate_when_approved => Some(now),
        State::Approved => plan.activate_at.filter(|at| *at > now),
        _ => None,
    }
}

/// The whole content that the event gets.
fn content_of(new: &NewRelease, event: &Event) -> Result<NewEvent, ReleaseError> {
    match (&new.condition, &new.event) {
        (Some(condition), None) => Ok(NewEvent {
            condition: condition.clone(),
            ..NewEvent::from(event)
        }),
        (None, Some(content)) => Ok(NewEvent {
            name: content.name.clone().or_else(|| Some(event.name.clone())),
            ..content.clone()
        }),
        _ => Err(ReleaseError::Field {
            pointer: "",
            message: "send either condition or event".to_owned(),
        }),
    }
}

/// A ramp compares the condition of an active event with another one.
fn check_plan(plan: &Plan, event: &Event, checked: &Checked) -> Result<(), ReleaseError> {
    let is_ramp = !plan.steps.is_empty();
    let message = if is_ramp && !(event.is_active && checked.new.is_active) {
        "a ramp needs an event that is active before and after the release; send no steps"
    } else if is_ramp && event.condition == checked.condition {
        "a ramp tries another condition, but the condition stays the same; send no steps"
    } else {
        return Ok(());
    };
    Err(ReleaseError::Field {
        pointer: "/plan/steps",
        message: message.to_owned(),
    })
}

/// The fields of a content are below `event`.
fn in_the_event(error: EventError) -> ReleaseError {
    ReleaseError::Event(error)
}

pub(super) fn released(row: ReleaseRow) -> Result<Release, ReleaseError> {
    let hash = content::hash(&row).map_err(|error| ReleaseError::Content(row.id, error))?;
    Ok(Release::of(row, hash))
}

fn written_by(mut row: ReleaseRow, actor: Actor) -> ReleaseRow {
    if let Some(person) = actor.person
        && !row.authors.0.contains(&person)
    {
        row.authors.0.push(person);
    }
    row
}

pub(super) fn made_by(action: Action, actor: Actor) -> Transition {
    Transition {
        action,
        by: Some(actor.id),
        text: None,
    }
}

pub(super) fn because(action: Action, reason: String, actor: Actor) -> Transition {
    Transition {
        text: Some(reason),
        ..made_by(action, actor)
    }
}

fn message_kind(action: Action) -> Option<&'static str> {
    Some(match action {
        Action::Commented => return None,
        Action::Created => outbox::RELEASE_CREATED,
        Action::Submitted => outbox::RELEASE_SUBMITTED,
        Action::Edited => outbox::RELEASE_EDITED,
        Action::Waived => outbox::RELEASE_WAIVED,
        Action::Approved => outbox::RELEASE_APPROVED,
        Action::Rejected => outbox::RELEASE_REJECTED,
        Action::Outdated => outbox::RELEASE_OUTDATED,
        Action::ScheduleMissed => outbox::RELEASE_SCHEDULE_MISSED,
        Action::Started => outbox::RELEASE_STARTED,
        Action::Advanced => outbox::RELEASE_ADVANCED,
        Action::Held => outbox::RELEASE_HELD,
        Action::Resumed => outbox::RELEASE_RESUMED,
        Action::Activated => outbox::RELEASE_ACTIVATED,
        Action::RolledBack => outbox::RELEASE_ROLLED_BACK,
        Action::Withdrawn => outbox::RELEASE_WITHDRAWN,
    })
}
