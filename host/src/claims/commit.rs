//! Committing a set of claims: all of each or nothing of it, and whoever is refused costs the others nothing.
//!
//! Must not know: how a verdict is reached, who waits for the answer.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use uuid::Uuid;

use super::budget::Spending;
use super::store::{self, GrantRow, OutboxRow, ReceiptRow, RequestRow, StoredResponse, commit_postgres, queue};
use crate::clock::Clock;
use crate::db::{Db, DbError, Tx};
use crate::events::EventService;
use crate::rewards::RewardService;

/// How often a set is tried again after a conflict with another process, or after the connection was lost.
const TRIES: u32 = 6;

/// All that a decided claim writes. Its ids are minted before, so that trying again writes the same.
#[derive(Clone, Debug)]
pub(super) struct CommitRecord {
    pub request: RequestRow,
    pub receipt: ReceiptRow,
    /// In the order of their rewards' ids.
    pub grants: Vec<GrantRow>,
    /// What it takes from the event's budget, if that has one and something is granted.
    pub spending: Option<Spending>,
    pub told: Option<OutboxRow>,
    pub answer: Option<StoredResponse>,
    /// Only of a claim that waited: it goes from its line, which must still be in the hands that raised the fence so far.
    pub fence: Option<i64>,
}

/// How committing a claim ended.
#[derive(Clone, Debug)]
pub(super) enum CommitOutcome {
    Committed,
    /// Somebody else was first: the event changed, the place, the stock or the budget was taken, the key has an answer.
    /// Nothing was written.
    Lost,
    /// The database failed. Unless it says that the outcome is unknown, nothing was written.
    Failed(DbError),
}

/// Wired by [`super::Claims`]; cheap to clone.
#[derive(Clone)]
pub(super) struct Committer {
    pub db: Db,
    pub clock: Clock,
    pub events: EventService,
    pub rewards: RewardService,
}

impl Committer {
    /// Commits a set, in the order in which the claims arrived; answers in the same order.
    pub(super) async fn commit(&self, records: &[CommitRecord]) -> Vec<CommitOutcome> {
        let mut ended = HashMap::with_capacity(records.len());
        match self.db.engine() {
            crate::db::Engine::Sqlite => self.commit_row_by_row(records, &mut ended).await,
            crate::db::Engine::Postgres => {
                let mut keys = HashSet::new();
                // Of two claims under one key the later has lost: its answer is that of the first.
                let open = records.iter().filter(|record| {
                    let answer = record.answer.as_ref();
                    answer.is_none_or(|answer| keys.insert((answer.user_id, answer.key.as_str())))
                });
                self.commit_at_once(open.collect(), false, &mut ended).await;
            }
        }
        records
            .iter()
            .map(|record| ended.remove(&record.request.id).unwrap_or(CommitOutcome::Lost))
            .collect()
    }

    /// One statement for all; what it cannot leave out by itself is taken out of the set and the rest tried again.
    ///
    /// A write whose outcome is unknown may end after it was looked up. Whatever is written then waits for it and finds
    /// its ids taken, so once anything is in doubt, whoever seems to have lost is looked up again.
    async fn commit_at_once(
        &self,
        mut open: Vec<&CommitRecord>,
        mut is_in_doubt: bool,
        ended: &mut HashMap<Uuid, CommitOutcome>,
    ) {
        let mut attempt = 0;
        while !open.is_empty() {
            let error = match commit_postgres::write(&self.db, &open).await {
                Ok(written) => {
                    let written = written.unwrap_or_default();
                    open.retain(|record| {
                        let id = record.request.id;
                        let is_there = written.requests.contains(&id);
                        if is_there {
                            ended.insert(id, CommitOutcome::Committed);
                        }
                        !is_there
                    });
                    let looked_up = if is_in_doubt {
                        self.drop_committed(&mut open, ended).await
                    } else {
                        Ok(())
                    };
                    for record in open {
                        let event_id = record.request.event_id;
                        if written.revisions.get(&event_id) != Some(&record.request.event_revision) {
                            self.events.forget(event_id).await;
                        }
                        let lost = looked_up
                            .clone()
                            .map_or_else(CommitOutcome::Failed, |()| CommitOutcome::Lost);
                        ended.insert(record.request.id, lost);
                    }
                    return;
                }
                Err(error) => error,
            };
            is_in_doubt |= error.is_outcome_unknown();
            let next = if matches!(
                error.violated_check(),
                Some(commit_postgres::STOCK | commit_postgres::BUDGETS)
            ) {
                let known = if is_in_doubt {
                    self.drop_committed(&mut open, ended).await
                } else {
                    Ok(())
                };
                match known {
                    // Others may take and give back meanwhile, time and again, but not for ever.
                    Ok(()) if attempt < TRIES => {
                        let before = open.len();
                        let left_out = self.drop_what_does_not_fit(&mut open, ended).await;
                        attempt += u32::from(open.len() == before);
                        left_out
                    }
                    Ok(()) => {
                        let lost = |record: &CommitRecord| (record.request.id, CommitOutcome::Lost);
                        ended.extend(std::mem::take(&mut open).into_iter().map(lost));
                        Ok(())
                    }
                    known => known,
                }
            } else if attempt + 1 < TRIES && error.is_outcome_unknown() {
                attempt += 1;
                tokio::time::sleep(self.jitter(attempt)).await;
                self.drop_committed(&mut open, ended).await
            } else if attempt + 1 < TRIES
                && (error.is_conflict() || error.violated_unique() == Some(commit_postgres::KEYS))
            {
                attempt += 1;
                tokio::time::sleep(self.jitter(attempt)).await;
                Ok(())
            } else if open.len() > 1 && !error.is_unavailable() && !error.is_outcome_unknown() {
                tracing::warn!(%error, claims = open.len(), "a claim spoils its set; each is committed alone");
                for record in std::mem::take(&mut open) {
                    Box::pin(self.commit_at_once(vec![record], is_in_doubt, ended)).await;
                }
                Ok(())
            } else {
                Err(error)
            };
            if let Err(error) = next {
                for record in std::mem::take(&mut open) {
                    ended.insert(record.request.id, CommitOutcome::Failed(error.clone()));
                }
            }
        }
    }

    /// The stock or a budget does not hold enough for all: first come, first served.
    async fn drop_what_does_not_fit(
        &self,
        open: &mut Vec<&CommitRecord>,
        ended: &mut HashMap<Uuid, CommitOutcome>,
    ) -> Result<(), DbError> {
        let rewards: HashSet<Uuid> = open
            .iter()
            .flat_map(|record| record.grants.iter().map(|grant| grant.reward_id))
            .collect();
        let mut stock = commit_postgres::stock(&self.db, rewards).await?;
        let mut spent = commit_postgres::spent(&self.db, open).await?;
        open.retain(|record| {
            let has_stock = record
                .grants
                .iter()
                .all(|grant| stock.get(&grant.reward_id).is_none_or(|left| *left >= grant.quantity));
            let has_budget = |spending: &Spending| {
                let period = (record.request.event_id, spending.period.clone());
                spending.add_to(spent.entry(period).or_default())
            };
            let fits = has_stock && record.spending.as_ref().is_none_or(has_budget);
            if fits {
                for grant in &record.grants {
                    stock.entry(grant.reward_id).and_modify(|left| *left -= grant.quantity);
                }
            } else {
                ended.insert(record.request.id, CommitOutcome::Lost);
            }
            fits
        });
        Ok(())
    }

    /// A commit whose answer was lost may have happened: only the database knows, by the ids.
    async fn drop_committed(
        &self,
        open: &mut Vec<&CommitRecord>,
        ended: &mut HashMap<Uuid, CommitOutcome>,
    ) -> Result<(), DbError> {
        let mut attempt = 0;
        let there = loop {
            match commit_postgres::present(&self.db, open.iter().map(|record| record.request.id)).await {
                Ok(there) => break there,
                Err(error) if attempt < TRIES && (error.is_unavailable() || error.is_outcome_unknown()) => {
                    attempt += 1;
                    tokio::time::sleep(self.jitter(attempt)).await;
                }
                Err(error) => return Err(error),
            }
        };
        open.retain(|record| {
            let id = record.request.id;
            if there.contains(&id) {
                ended.insert(id, CommitOutcome::Committed);
            }
            !there.contains(&id)
        });
        Ok(())
    }

    /// One transaction with a savepoint for each claim, so that one wait for the disk does for all.
    async fn commit_row_by_row(&self, records: &[CommitRecord], ended: &mut HashMap<Uuid, CommitOutcome>) {
        let mut attempt = 0;
        loop {
            ended.clear();
            let Err(error) = self.write_all(records, ended).await else {
                return;
            };
            attempt += 1;
            if attempt == TRIES || !error.is_conflict() {
                let failed = |record: &CommitRecord| (record.request.id, CommitOutcome::Failed(error.clone()));
                ended.extend(records.iter().map(failed));
                return;
            }
            tokio::time::sleep(self.jitter(attempt)).await;
        }
    }

    async fn write_all(
        &self,
        records: &[CommitRecord],
        ended: &mut HashMap<Uuid, CommitOutcome>,
    ) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        for record in records {
            store::savepoint(&mut tx).await?;
            let written = self.write_one(&mut tx, record).await;
            if !matches!(written, Ok(true)) {
                store::roll_back_to_savepoint(&mut tx).await?;
            }
            store::release_savepoint(&mut tx).await?;
            let end = match written {
                Ok(true) => CommitOutcome::Committed,
                Ok(false) => CommitOutcome::Lost,
                Err(error) => CommitOutcome::Failed(error),
            };
            ended.insert(record.request.id, end);
        }
        tx.commit().await
    }

    /// `false`: lost, and what was written must be rolled back.
    async fn write_one(&self, tx: &mut Tx, record: &CommitRecord) -> Result<bool, DbError> {
        let CommitRecord { request, receipt, .. } = record;
        if !self
            .events
            .confirm(tx, request.event_id, request.event_revision)
            .await?
            || !store::insert(tx, request, receipt, record.spending.as_ref()).await?
        {
            return Ok(false);
        }
        if let Some(fence) = record.fence
            && !queue::remove(tx, request.id, request.event_id, fence).await?
        {
            return Ok(false);
        }
        for grant in &record.grants {
            store::insert_grant(tx, grant, request.decided_at).await?;
        }
        if let Some(told) = &record.told {
            store::insert_outbox(tx, told.clone()).await?;
        }
        if let Some(answer) = &record.answer
            && !store::store_response(tx, answer.clone()).await?
        {
            return Ok(false);
        }
        if let Some(spending) = &record.spending
            && !self
                .events
                .spend(tx, request.event_id, &spending.period, spending.amount)
                .await?
        {
            return Ok(false);
        }
        for grant in &record.grants {
            if !self.rewards.take(tx, grant.reward_id, grant.quantity).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes a claim that waited and is granted nothing, whatever became of its event. `false`: it does not wait any more,
    /// or its line is in other hands; or its key has an answer.
    pub(super) async fn commit_refusal(&self, record: &CommitRecord) -> Result<bool, DbError> {
        let CommitRecord { request, receipt, .. } = record;
        let fence = record.fence.unwrap_or_default();
        let mut tx = self.db.begin().await?;
        if !queue::remove(&mut tx, request.id, request.event_id, fence).await?
            || !store::insert(&mut tx, request, receipt, None).await?
        {
            return Ok(false);
        }
        if let Some(answer) = &record.answer
            && !store::store_response(&mut tx, answer.clone()).await?
        {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    fn jitter(&self, attempt: u32) -> Duration {
        full_jitter(&self.clock, attempt)
    }
}

/// 5 to 200 ms at most, so that claims that collided do not collide again.
pub(super) fn full_jitter(clock: &Clock, attempt: u32) -> Duration {
    let ceiling = (5_u64 << attempt.min(6)).min(200);
    Duration::from_millis(u64::from_le_bytes(clock.random()) % ceiling)
}
