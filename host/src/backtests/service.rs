//! Rules for backtests: who may have how many, what they compare, and how they end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::error::BacktestError;
use super::limits::{MAX_UNFINISHED, MAX_UNFINISHED_OF_ALL};
use super::logged::KIND;
use super::model::{Backtest, NewBacktest};
use super::report::{Report, SignedReport};
use super::state::State;
use super::store::{self, BacktestRow, Filter, Worlds, shards};
use super::terms::{GroupTerms, Terms, stand_in_secret};
use crate::audit::{self, Entry};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbError, Json};
use crate::events::{self, EventService, NewCondition};
use crate::keys::Keyring;
use crate::outbox::{self, Message};
use crate::plugins::{BoundCondition, PluginError, PluginService};
use crate::sandbox::{Digest, Sandbox};
use crate::transparency;

/// How long reports are kept, and backtests without one.
const REPORTS: Duration = Duration::from_hours(365 * 24);
const OTHERS: Duration = Duration::from_hours(7 * 24);
/// Rows that one statement deletes.
const PRUNED_AT_ONCE: i64 = 100;

/// What a release refers to.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub event_id: Uuid,
    /// The plugin of the candidate.
    pub plugin_digest: Digest,
    pub params: Value,
    pub report_digest: String,
    pub report: Report,
}

/// Wired by `app`; cheap to clone.
#[derive(Clone)]
pub struct BacktestService {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) sandbox: Sandbox,
    pub(super) plugins: PluginService,
    pub(super) events: EventService,
    pub(super) keys: Arc<Keyring>,
}

impl BacktestService {
    pub fn new(
        (db, clock): (Db, Clock),
        sandbox: Sandbox,
        plugins: PluginService,
        events: EventService,
        keys: Arc<Keyring>,
    ) -> Self {
        Self {
            db,
            clock,
            sandbox,
            plugins,
            events,
            keys,
        }
    }

    pub(super) async fn create(&self, new: NewBacktest, by: Uuid) -> Result<Backtest, BacktestError> {
        let (own, all) = store::unfinished(&self.db, by).await?;
        if own >= MAX_UNFINISHED {
            return Err(BacktestError::TooMany(own));
        }
        if all >= MAX_UNFINISHED_OF_ALL {
            return Err(BacktestError::TooManyOfAll(all));
        }
        let now = self.clock.now();
        let terms = self.terms(&new, now).await?;
        let row = BacktestRow {
            id: self.clock.new_id(),
            event_id: terms.event_id,
            state: State::Queued,
            terms: Json(terms),
            worlds: Json(Worlds::default()),
            users: None,
            round: None,
            sample_through: None,
            report_digest: None,
            failure: None,
            created_by: by,
            created_at: now,
            updated_at: now,
        };
        let backtest = Backtest::new(row.clone(), 0);
        let mut tx = self.db.begin().await?;
        store::insert(&mut tx, row).await?;
        let entry = Entry::about("backtest", &backtest.id).between(&(), &backtest);
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        Ok(backtest)
    }

    /// Everything that the report depends on, as it is now.
    pub(super) async fn terms(&self, new: &NewBacktest, now: Timestamp) -> Result<Terms, BacktestError> {
        // From the database: the stock of a cached offer may be older than the claims that are read.
        let stand_in = stand_in_secret(new.event_id);
        let offer = events::offer_without_secret(&self.db, new.event_id, stand_in).await?;
        let event = &offer.event;
        let live = &event.condition;
        let baseline = self
            .bound(new.baseline.as_ref(), live, ["/baseline/version", "/baseline/params"])
            .await?;
        let candidate = self
            .bound(
                new.candidate.as_ref(),
                live,
                ["/candidate/version", "/candidate/params"],
            )
            .await?;
        let group = match &event.group {
            Some(name) => Some(GroupTerms {
                name: name.clone(),
                max_per_user: events::group_limit(&self.db, name).await?,
            }),
            None => None,
        };
        let mut terms = Terms::new(&offer, group, [&baseline, &candidate]);
        terms.choose((new.from, new.to), new.population, new.sample, now)?;
        Ok(terms)
    }

    async fn bound(
        &self,
        given: Option<&NewCondition>,
        live: &BoundCondition,
        [version, params]: [&'static str; 2],
    ) -> Result<BoundCondition, BacktestError> {
        let Some(given) = given else { return Ok(live.clone()) };
        let bound = self.plugins.bind(&given.plugin, &given.version, &given.params).await;
        bound.map_err(|error| match error {
            PluginError::NoSuchPlugin { .. }
            | PluginError::NoSuchVersion { .. }
            | PluginError::NotActive { .. }
            | PluginError::NotTrusted { .. } => field(version, error.to_string()),
            PluginError::Params(issues) => BacktestError::Params {
                pointer: params,
                issues,
            },
            error => error.into(),
        })
    }

    pub(super) async fn get(&self, id: Uuid) -> Result<Backtest, BacktestError> {
        let row = store::find(&self.db, id).await?.ok_or(BacktestError::NotFound(id))?;
        let replayed = match row.round.filter(|_| !row.state.is_over()) {
            Some(round) => shards::progress(&self.db, id, round).await?.1,
            None => 0,
        };
        Ok(Backtest::new(row, replayed))
    }

    /// Newest first, up to `size + 1`.
    pub(super) async fn list(
        &self,
        filter: Filter,
        before: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<Backtest>, BacktestError> {
        let rows = store::list(&self.db, filter, before, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(|row| Backtest::new(row, 0)).collect())
    }

    /// The signed report, as it was stored.
    pub(super) async fn report(&self, id: Uuid) -> Result<SignedReport, BacktestError> {
        let row = store::find(&self.db, id).await?.ok_or(BacktestError::NotFound(id))?;
        let report = store::report(&self.db, id).await?;
        let report = report.ok_or(BacktestError::NoReport(row.state))?;
        Ok(serde_json::from_str(&report)?)
    }

    /// What a release needs of a backtest that is DONE.
    pub async fn evidence(&self, id: Uuid) -> Result<Option<Evidence>, BacktestError> {
        let Some(row) = store::find(&self.db, id).await? else {
            return Ok(None);
        };
        let (Some(report_digest), State::Done) = (row.report_digest.clone(), row.state) else {
            return Ok(None);
        };
        let report = self.report(id).await?;
        Ok(Some(Evidence {
            event_id: row.event_id,
            plugin_digest: row.terms.0.candidate.digest,
            params: row.terms.0.candidate.params,
            report_digest,
            report: report.report,
        }))
    }

    /// Keeps the backtest from going on until it is resumed.
    pub(super) async fn pause(&self, id: Uuid) -> Result<Backtest, BacktestError> {
        self.change(id, State::Paused, "paused", |state| {
            matches!(state, State::Queued | State::Running)
        })
        .await
    }

    pub(super) async fn resume(&self, id: Uuid) -> Result<Backtest, BacktestError> {
        self.change(id, State::Running, "resumed", |state| state == State::Paused)
            .await
    }

    pub(super) async fn cancel(&self, id: Uuid) -> Result<Backtest, BacktestError> {
        self.change(id, State::Cancelled, "cancelled", |state| !state.is_over())
            .await
    }

    async fn change(
        &self,
        id: Uuid,
        to: State,
        wanted: &'static str,
        is_possible: impl Fn(State) -> bool,
    ) -> Result<Backtest, BacktestError> {
        let mut tx = self.db.begin().await?;
        let row = store::lock(&mut tx, id).await?.ok_or(BacktestError::NotFound(id))?;
        let is = row.state;
        if !is_possible(is) {
            return Err(BacktestError::State { is, wanted });
        }
        // One that was not planned yet is planned now.
        let to = if to == State::Running && row.round.is_none() {
            State::Queued
        } else {
            to
        };
        store::set_state(&mut tx, id, to, self.clock.now()).await?;
        if to == State::Cancelled {
            shards::delete(&mut tx, id).await?;
        }
        let entry = Entry::about("backtest", &id).field("state", is, to);
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        self.get(id).await
    }

    /// Deletes old backtests, and returns how many.
    pub async fn prune(&self) -> Result<u64, DbError> {
        let now = self.clock.now();
        let mut deleted = 0;
        for (state, kept) in [
            (State::Done, REPORTS),
            (State::Failed, OTHERS),
            (State::Cancelled, OTHERS),
        ] {
            let mut tx = self.db.begin().await?;
            let before = now.minus(kept);
            let count = store::prune(&mut tx, state, before, PRUNED_AT_ONCE).await?;
            if count > 0 && state == State::Done {
                transparency::removed(&mut tx, &self.clock, KIND.name, before.first_id()).await?;
            }
            deleted += count;
            tx.commit().await?;
        }
        Ok(deleted)
    }

    /// The message that a backtest is over.
    pub(super) fn message(&self, row: &BacktestRow, state: State, report_digest: Option<&str>) -> Message {
        Message {
            id: self.clock.new_id(),
            kind: outbox::BACKTEST_FINISHED,
            user_id: None,
            subject_id: Some(row.event_id),
            payload: json!({
                "backtestId": row.id, "eventId": row.event_id, "state": state, "reportDigest": report_digest,
                "finishedAt": self.clock.now(),
            }),
            http_request_id: None,
            created_at: self.clock.now(),
            once_key: Some(format!("{}/{state}", row.id)),
        }
    }
}

fn field(pointer: &'static str, message: String) -> BacktestError {
    BacktestError::Field { pointer, message }
}
