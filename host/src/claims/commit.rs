//! Committing a set of claims: all of each or nothing of it, and whoever is refused costs the others nothing.
//!
//! Must not know: how a verdict is reached, who waits for the answer.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use uuid::Uuid;

use super::budget::Spending;
use super::store::{self, GrantRow, KeptAnswer, OutboxRow, ReceiptRow, RequestRow, received, set};
use crate::clock::Clock;
use crate::db::{Db, DbError, Tx};
use crate::events::EventService;
use crate::rewards::RewardService;

/// How often a set is tried again after a conflict with another process, or after the connection was lost.
const TRIES: u32 = 6;

/// All that a decided claim writes. Its ids are minted before, so that trying again writes the same.
#[derive(Clone, Debug)]
pub(super) struct Settlement {
    pub request: RequestRow,
    pub receipt: ReceiptRow,
    /// In the order of their rewards' ids.
    pub grants: Vec<GrantRow>,
    /// What it takes from the event's budget, if that has one and something is granted.
    pub spending: Option<Spending>,
    pub told: Option<OutboxRow>,
    pub answer: Option<KeptAnswer>,
    /// Only of a claim that waited: it goes from its line, which must still be in the hands that raised the fence so far.
    pub fence: Option<i64>,
}

/// How committing a claim ended.
#[derive(Clone, Debug)]
pub(super) enum Ended {
    Committed,
    /// Somebody else was first: the event changed, the place, the stock or the budget was taken, the key has an answer.
    /// Nothing was written.
    Lost,
    /// The database failed. Unless it says that the outcome is unknown, nothing was written.
    Failed(DbError),
}

/// Wired by [`super::RequestService`]; cheap to clone.
#[derive(Clone)]
pub(super) struct Committer {
    pub db: Db,
    pub clock: Clock,
    pub events: EventService,
    pub rewards: RewardService,
}

impl Committer {
    /// Commits a set, in the order in which the claims arrived; answers in the same order.
    pub(super) async fn commit(&self, settlements: &[Settlement]) -> Vec<Ended> {
        let mut ended = HashMap::with_capacity(settlements.len());
        match self.db.engine() {
            crate::db::Engine::Sqlite => self.commit_row_by_row(settlements, &mut ended).await,
            crate::db::Engine::Postgres => {
                let mut keys = HashSet::new();
                // Of two claims under one key the later has lost: its answer is that of the first.
                let open = settlements.iter().filter(|settlement| {
                    let answer = settlement.answer.as_ref();
                    answer.is_none_or(|answer| keys.insert((answer.user_id, answer.key.as_str())))
                });
                self.commit_at_once(open.collect(), false, &mut ended).await;
            }
        }
        settlements
            .iter()
            .map(|settlement| ended.remove(&settlement.request.id).unwrap_or(Ended::Lost))
            .collect()
    }

    /// One statement for all; what it cannot leave out by itself is taken out of the set and the rest tried again.
    ///
    /// A write whose outcome is unknown may end after it was looked up. Whatever is written then waits for it and finds
    /// its ids taken, so once anything is in doubt, whoever seems to have lost is looked up again.
    async fn commit_at_once(
        &self,
        mut open: Vec<&Settlement>,
        mut is_in_doubt: bool,
        ended: &mut HashMap<Uuid, Ended>,
    ) {
        let mut attempt = 0;
        while !open.is_empty() {
            let error = match set::write(&self.db, &open).await {
                Ok(written) => {
                    let written = written.unwrap_or_default();
                    open.retain(|settlement| {
                        let id = settlement.request.id;
                        let is_there = written.requests.contains(&id);
                        if is_there {
                            ended.insert(id, Ended::Committed);
                        }
                        !is_there
                    });
                    let looked_up = if is_in_doubt {
                        self.leave_out_what_is_there(&mut open, ended).await
                    } else {
                        Ok(())
                    };
                    for settlement in open {
                        let event_id = settlement.request.event_id;
                        if written.revisions.get(&event_id) != Some(&settlement.request.event_revision) {
                            self.events.forget(event_id).await;
                        }
                        let lost = looked_up.clone().map_or_else(Ended::Failed, |()| Ended::Lost);
                        ended.insert(settlement.request.id, lost);
                    }
                    return;
                }
                Err(error) => error,
            };
            is_in_doubt |= error.is_outcome_unknown();
            let next = if matches!(error.violated_check(), Some(set::STOCK | set::BUDGETS)) {
                let known = if is_in_doubt {
                    self.leave_out_what_is_there(&mut open, ended).await
                } else {
                    Ok(())
                };
                match known {
                    // Others may take and give back meanwhile, time and again, but not for ever.
                    Ok(()) if attempt < TRIES => {
                        let before = open.len();
                        let left_out = self.leave_out_what_does_not_fit(&mut open, ended).await;
                        attempt += u32::from(open.len() == before);
                        left_out
                    }
                    Ok(()) => {
                        let lost = |settlement: &Settlement| (settlement.request.id, Ended::Lost);
                        ended.extend(std::mem::take(&mut open).into_iter().map(lost));
                        Ok(())
                    }
                    known => known,
                }
            } else if attempt + 1 < TRIES && error.is_outcome_unknown() {
                attempt += 1;
                tokio::time::sleep(self.jitter(attempt)).await;
                self.leave_out_what_is_there(&mut open, ended).await
            } else if attempt + 1 < TRIES && (error.is_conflict() || error.violated_unique() == Some(set::KEYS)) {
                attempt += 1;
                tokio::time::sleep(self.jitter(attempt)).await;
                Ok(())
            } else if open.len() > 1 && !error.is_unavailable() && !error.is_outcome_unknown() {
                tracing::warn!(%error, claims = open.len(), "a claim spoils its set; each is committed alone");
                for settlement in std::mem::take(&mut open) {
                    Box::pin(self.commit_at_once(vec![settlement], is_in_doubt, ended)).await;
                }
                Ok(())
            } else {
                Err(error)
            };
            if let Err(error) = next {
                for settlement in std::mem::take(&mut open) {
                    ended.insert(settlement.request.id, Ended::Failed(error.clone()));
                }
            }
        }
    }

    /// The stock or a budget does not hold enough for all: first come, first served.
    async fn leave_out_what_does_not_fit(
        &self,
        open: &mut Vec<&Settlement>,
        ended: &mut HashMap<Uuid, Ended>,
    ) -> Result<(), DbError> {
        let rewards: HashSet<Uuid> = open
            .iter()
            .flat_map(|settlement| settlement.grants.iter().map(|grant| grant.reward_id))
            .collect();
        let mut stock = set::stock(&self.db, rewards).await?;
        let mut spent = set::spent(&self.db, open).await?;
        open.retain(|settlement| {
            let has_stock = settlement
                .grants
                .iter()
                .all(|grant| stock.get(&grant.reward_id).is_none_or(|left| *left >= grant.quantity));
            let has_budget = |spending: &Spending| {
                let period = (settlement.request.event_id, spending.period.clone());
                spending.add_to(spent.entry(period).or_default())
            };
            let fits = has_stock && settlement.spending.as_ref().is_none_or(has_budget);
            if fits {
                for grant in &settlement.grants {
                    stock.entry(grant.reward_id).and_modify(|left| *left -= grant.quantity);
                }
            } else {
                ended.insert(settlement.request.id, Ended::Lost);
            }
            fits
        });
        Ok(())
    }

    /// A commit whose answer was lost may have happened: only the database knows, by the ids.
    async fn leave_out_what_is_there(
        &self,
        open: &mut Vec<&Settlement>,
        ended: &mut HashMap<Uuid, Ended>,
    ) -> Result<(), DbError> {
        let mut attempt = 0;
        let there = loop {
            match set::present(&self.db, open.iter().map(|settlement| settlement.request.id)).await {
                Ok(there) => break there,
                Err(error) if attempt < TRIES && (error.is_unavailable() || error.is_outcome_unknown()) => {
                    attempt += 1;
                    tokio::time::sleep(self.jitter(attempt)).await;
                }
                Err(error) => return Err(error),
            }
        };
        open.retain(|settlement| {
            let id = settlement.request.id;
            if there.contains(&id) {
                ended.insert(id, Ended::Committed);
            }
            !there.contains(&id)
        });
        Ok(())
    }

    /// One transaction with a savepoint for each claim, so that one wait for the disk does for all.
    async fn commit_row_by_row(&self, settlements: &[Settlement], ended: &mut HashMap<Uuid, Ended>) {
        let mut attempt = 0;
        loop {
            ended.clear();
            let Err(error) = self.write_all(settlements, ended).await else {
                return;
            };
            attempt += 1;
            if attempt == TRIES || !error.is_conflict() {
                let failed = |settlement: &Settlement| (settlement.request.id, Ended::Failed(error.clone()));
                ended.extend(settlements.iter().map(failed));
                return;
            }
            tokio::time::sleep(self.jitter(attempt)).await;
        }
    }

    async fn write_all(&self, settlements: &[Settlement], ended: &mut HashMap<Uuid, Ended>) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        for settlement in settlements {
            store::savepoint(&mut tx).await?;
            let written = self.write_one(&mut tx, settlement).await;
            if !matches!(written, Ok(true)) {
                store::roll_back_to_savepoint(&mut tx).await?;
            }
            store::release_savepoint(&mut tx).await?;
            let end = match written {
                Ok(true) => Ended::Committed,
                Ok(false) => Ended::Lost,
                Err(error) => Ended::Failed(error),
            };
            ended.insert(settlement.request.id, end);
        }
        tx.commit().await
    }

    /// `false`: lost, and what was written must be rolled back.
    async fn write_one(&self, tx: &mut Tx, settlement: &Settlement) -> Result<bool, DbError> {
        let Settlement { request, receipt, .. } = settlement;
        if !self
            .events
            .confirm(tx, request.event_id, request.event_revision)
            .await?
            || !store::insert(tx, request, receipt, settlement.spending.as_ref()).await?
        {
            return Ok(false);
        }
        if let Some(fence) = settlement.fence
            && !received::remove(tx, request.id, request.event_id, fence).await?
        {
            return Ok(false);
        }
        for grant in &settlement.grants {
            store::insert_grant(tx, grant, request.decided_at).await?;
        }
        if let Some(told) = &settlement.told {
            store::insert_outbox(tx, told.clone()).await?;
        }
        if let Some(answer) = &settlement.answer
            && !store::keep_answer(tx, answer.clone()).await?
        {
            return Ok(false);
        }
        if let Some(spending) = &settlement.spending
            && !self
                .events
                .spend(tx, request.event_id, &spending.period, spending.amount)
                .await?
        {
            return Ok(false);
        }
        for grant in &settlement.grants {
            if !self.rewards.take(tx, grant.reward_id, grant.quantity).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes a claim that waited and is granted nothing, whatever became of its event. `false`: it does not wait any more,
    /// or its line is in other hands; or its key has an answer.
    pub(super) async fn commit_refusal(&self, settlement: &Settlement) -> Result<bool, DbError> {
        let Settlement { request, receipt, .. } = settlement;
        let fence = settlement.fence.unwrap_or_default();
        let mut tx = self.db.begin().await?;
        if !received::remove(&mut tx, request.id, request.event_id, fence).await?
            || !store::insert(&mut tx, request, receipt, None).await?
        {
            return Ok(false);
        }
        if let Some(answer) = &settlement.answer
            && !store::keep_answer(&mut tx, answer.clone()).await?
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
