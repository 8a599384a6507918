//! Takes in observations, and writes what was counted every few seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use uuid::Uuid;

use super::counts::StepCounts;
use super::model::{Divergence, Kind};
use super::observation::Observation;
use super::store::{self, CounterKey, DivergenceRow};
use super::totals::Totals;
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbError, Json};
use crate::events::{Arm, Trial};

/// How long divergences are kept.
const RETENTION: Duration = Duration::from_hours(30 * 24);
/// Divergences of a kind and step that are listed; all are counted.
const LISTED: u64 = 10_000;
/// Divergences that wait in memory for the next write.
const WAITING: usize = 4096;
/// Users whose last decisions a process remembers; at about a hundred bytes each.
const REMEMBERED: u64 = 100_000;
const REMEMBERED_FOR: Duration = Duration::from_hours(6);
/// Rows that one statement deletes.
const SWEPT_AT_ONCE: i64 = 500;

/// Cheap to clone.
#[derive(Clone)]
pub struct TrialService {
    pub(super) db: Db,
    clock: Clock,
    counted: Arc<Mutex<Counted>>,
    /// What each user was told last in a step.
    known: Cache<(Uuid, i64, Uuid), u64>,
}

/// Since the last write.
#[derive(Default)]
struct Counted {
    totals: BTreeMap<CounterKey, Totals>,
    divergences: Vec<DivergenceRow>,
}

impl Counted {
    fn of(&mut self, key: CounterKey) -> &mut Totals {
        self.totals.entry(key).or_default()
    }
}

impl TrialService {
    pub fn new(db: Db, clock: Clock) -> Self {
        let known = Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR);
        Self {
            db,
            clock,
            counted: Arc::default(),
            known: known.build(),
        }
    }

    /// Counts a claim. A user who is told the same again counts once.
    pub fn observe(&self, observation: &Observation) {
        let trial = &observation.trial;
        let step = (trial.candidate.release_id, trial.event_revision, observation.user_id);
        let fingerprint = observation.fingerprint();
        let before = self.known.get(&step);
        if before == Some(fingerprint) {
            return;
        }
        self.known.insert(step, fingerprint);
        let is_first = before.is_none();
        let kind = observation.kind();
        if let Some(kind) = kind {
            let kind: &'static str = kind.into();
            metrics::counter!("meed_trial_divergences_total", "kind" => kind).increment(1);
        }
        if let Some(code) = observation
            .candidate
            .as_ref()
            .and_then(|candidate| candidate.failure.clone())
        {
            metrics::counter!("meed_trial_failures_total", "failure" => code).increment(1);
        }
        let now = self.clock.now();
        let mut counted = self.counted.lock();
        let decided = match observation.decided_by() {
            Arm::Stable => &observation.stable,
            Arm::Candidate => &observation.candidate,
        };
        let user = observation.user_id;
        if observation.is_shadow() {
            // Both parts are all users.
            if let Some(stable) = &observation.stable {
                counted
                    .of(key(trial, Arm::Stable, now))
                    .count(user, is_first, stable, stable);
            }
            if let Some(candidate) = &observation.candidate {
                counted
                    .of(key(trial, Arm::Candidate, now))
                    .count(user, is_first, candidate, candidate);
            }
        } else if let Some(enforced) = decided {
            let own = match observation.arm {
                Arm::Stable => &observation.stable,
                Arm::Candidate => &observation.candidate,
            };
            let own = own.as_ref().unwrap_or(enforced);
            counted
                .of(key(trial, observation.arm, now))
                .count(user, is_first, enforced, own);
        }
        if observation.stable.is_some() && observation.candidate.is_some() {
            counted.of(key(trial, Arm::Candidate, now)).diverge(kind);
        }
        let Some(kind) = kind else { return };
        if counted.divergences.len() >= WAITING {
            metrics::counter!("meed_trial_dropped_total", "what" => "divergence").increment(1);
            return;
        }
        let row = self.divergence(observation, kind, now);
        counted.divergences.extend(row);
    }

    /// Counts a claim whose decisions are not compared, because too many wait.
    pub fn drop_one(&self, trial: &Trial) {
        metrics::counter!("meed_trial_dropped_total", "what" => "decision").increment(1);
        let key = key(trial, Arm::Candidate, self.clock.now());
        self.counted.lock().of(key).dropped += 1;
    }

    /// Writes the counts since the last call, and returns the number of rows. Counts that could not be written are kept for the
    /// next call.
    pub async fn write(&self) -> Result<usize, DbError> {
        let Counted { totals, divergences } = std::mem::take(&mut *self.counted.lock());
        let written = self.write_all(&totals, &divergences).await;
        match &written {
            Ok(_) => {}
            // They may be written, so they are not written again.
            Err(error) if error.is_outcome_unknown() => {
                metrics::counter!("meed_trial_dropped_total", "what" => "batch").increment(1);
            }
            Err(_) => {
                let mut counted = self.counted.lock();
                for (key, totals) in totals {
                    counted.of(key).add(&totals);
                }
                let free = WAITING.saturating_sub(counted.divergences.len());
                counted.divergences.extend(divergences.into_iter().take(free));
            }
        }
        written
    }

    /// One transaction. The keys are sorted, so two processes never wait for each other.
    async fn write_all(
        &self,
        totals: &BTreeMap<CounterKey, Totals>,
        divergences: &[DivergenceRow],
    ) -> Result<usize, DbError> {
        if totals.is_empty() {
            return Ok(0);
        }
        let mut tx = self.db.begin().await?;
        let mut listed: BTreeMap<(Uuid, i64, Kind), u64> = BTreeMap::new();
        for (key, more) in totals {
            let mut sum = store::lock(&mut tx, key).await?;
            for (kind, count) in &sum.divergences {
                *listed.entry((key.release_id, key.event_revision, *kind)).or_default() += count;
            }
            sum.add(more);
            store::save(&mut tx, key, sum).await?;
        }
        let mut rows = totals.len();
        for row in divergences {
            let listed = listed
                .entry((row.release_id, row.event_revision, row.kind))
                .or_default();
            *listed += 1;
            if *listed <= LISTED {
                store::insert(&mut tx, row.clone()).await?;
                rows += 1;
            }
        }
        tx.commit().await?;
        Ok(rows)
    }

    /// The totals of a step: of the event's condition, and of the candidate.
    pub async fn totals(&self, release_id: Uuid, event_revision: i64) -> Result<(Totals, Totals), DbError> {
        let (mut stable, mut candidate) = (Totals::default(), Totals::default());
        for (key, totals) in store::of_step(&self.db, release_id, event_revision).await? {
            match key.arm {
                Arm::Stable => stable.add(&totals),
                Arm::Candidate => candidate.add(&totals),
            }
        }
        Ok((stable, candidate))
    }

    /// All steps of a release, the newest first.
    pub(super) async fn steps(&self, release_id: Uuid) -> Result<Vec<StepCounts>, DbError> {
        let mut steps: BTreeMap<(std::cmp::Reverse<i64>, Arm), Totals> = BTreeMap::new();
        for (key, totals) in store::of_release(&self.db, release_id).await? {
            let step = (std::cmp::Reverse(key.event_revision), key.arm);
            steps.entry(step).or_default().add(&totals);
        }
        let counts = steps.into_iter().map(|((revision, arm), totals)| StepCounts {
            event_revision: revision.0,
            arm,
            users: totals.users(),
            totals: totals.shown(),
        });
        Ok(counts.collect())
    }

    /// Newest first, up to `size + 1`.
    pub(super) async fn divergences(
        &self,
        release_id: Uuid,
        kind: Option<Kind>,
        after: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<Divergence>, DbError> {
        let rows = store::list(&self.db, release_id, kind, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(Divergence::from).collect())
    }

    /// Deletes divergences after their retention, and returns their number.
    pub async fn sweep(&self) -> Result<u64, DbError> {
        let before = self.clock.now().minus(RETENTION);
        let mut swept = 0;
        loop {
            let mut tx = self.db.begin().await?;
            let rows = store::delete_before(&mut tx, before, SWEPT_AT_ONCE).await?;
            tx.commit().await?;
            swept += rows;
            if i64::try_from(rows).unwrap_or(i64::MAX) < SWEPT_AT_ONCE {
                return Ok(swept);
            }
        }
    }

    fn divergence(&self, observation: &Observation, kind: Kind, now: Timestamp) -> Option<DivergenceRow> {
        let trial = &observation.trial;
        Some(DivergenceRow {
            user_id: observation.user_id,
            id: self.clock.new_id(),
            release_id: trial.candidate.release_id,
            event_id: trial.event_id,
            event_revision: trial.event_revision,
            request_id: observation.request_id,
            kind,
            decided_by: observation.decided_by(),
            stable: Json(observation.stable.as_ref()?.to_json()),
            candidate: Json(observation.candidate.as_ref()?.to_json()),
            decided_at: now,
        })
    }
}

fn key(trial: &Trial, arm: Arm, now: Timestamp) -> CounterKey {
    const HOUR: i64 = 3_600_000;
    CounterKey {
        release_id: trial.candidate.release_id,
        event_revision: trial.event_revision,
        arm,
        hour: now.as_millis().div_euclid(HOUR) * HOUR,
    }
}
