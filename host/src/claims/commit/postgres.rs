//! A batch on PostgreSQL: one statement for all of its records. Records that the statement itself cannot leave out are
//! dropped from the batch, and the rest is retried.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::backoff;
use crate::claims::store::commit_postgres::{self, BUDGETS, KEYS, STOCK};
use crate::claims::store::{CommitOutcome, CommitRecord, Spending};
use crate::clock::Clock;
use crate::db::{Bulk, DbError};
use crate::events::EventService;
use crate::mutations;

/// Attempts after conflicts, lost connections, or limits that other processes reached first.
const ATTEMPTS: u32 = 6;

/// Records in a row that may take too long before the rest of their batch is given up.
const MOST_TIMEOUTS: u32 = 3;

pub(super) async fn commit(
    bulk: &Bulk,
    clock: &Clock,
    events: &EventService,
    records: &[CommitRecord],
) -> Vec<CommitOutcome> {
    let mut keys = HashSet::new();
    // Of two claims under one Idempotency-Key the later one loses: its response is that of the first.
    let open = records.iter().filter(|record| {
        let response = record.response.as_ref();
        response.is_none_or(|response| keys.insert((response.user_id, response.key.as_str())))
    });
    let mut batch = Batch {
        bulk,
        clock,
        events,
        outcomes: HashMap::with_capacity(records.len()),
    };
    batch.commit(open.collect(), false, ATTEMPTS).await;
    let mut outcome_of = |record: &CommitRecord| batch.outcomes.remove(&record.request.id);
    records
        .iter()
        .map(|record| outcome_of(record).unwrap_or(CommitOutcome::Lost))
        .collect()
}

struct Batch<'a> {
    bulk: &'a Bulk,
    clock: &'a Clock,
    events: &'a EventService,
    outcomes: HashMap<Uuid, CommitOutcome>,
}

impl Batch<'_> {
    /// Writes the open records until each has an outcome.
    ///
    /// `is_in_doubt`: a write of these records had no known outcome. It may still commit after a look-up did not find its
    /// rows; a later write waits for it and finds the ids taken. So records in doubt that seem lost are looked up again.
    async fn commit(&mut self, mut open: Vec<&CommitRecord>, mut is_in_doubt: bool, attempts: u32) {
        let mut attempt = 0;
        while !open.is_empty() {
            let error = match commit_postgres::write(self.bulk, self.clock, &open).await {
                Ok(written) => return self.finish(open, &written, is_in_doubt).await,
                Err(error) => error,
            };
            is_in_doubt |= error.is_outcome_unknown() && !mutations::active("outcome-read-once");
            let may_repeat = attempt + 1 < attempts;
            let next = if matches!(error.violated_check(), Some(STOCK | BUDGETS)) {
                let found = if is_in_doubt {
                    self.drop_committed(&mut open).await
                } else {
                    Ok(())
                };
                match found {
                    Ok(()) if attempt < ATTEMPTS => {
                        let before = open.len();
                        let dropped = self.drop_beyond_limits(&mut open).await;
                        // Other processes may take and return stock between the two, but not forever.
                        attempt += u32::from(open.len() == before);
                        dropped
                    }
                    Ok(()) => {
                        self.finish_all(&mut open, &CommitOutcome::Lost);
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            } else if open.len() > 1 && error.is_statement_timeout() {
                // Perhaps another transaction holds a row of one claim.
                self.commit_each(std::mem::take(&mut open), is_in_doubt, 1).await;
                Ok(())
            } else if may_repeat && error.is_outcome_unknown() {
                attempt += 1;
                backoff::pause(self.clock, attempt).await;
                if mutations::active("new-ids-after-lost-reply") {
                    self.finish_all(&mut open, &CommitOutcome::Lost);
                }
                self.drop_committed(&mut open).await
            } else if may_repeat && (error.is_conflict() || error.violated_unique() == Some(KEYS)) {
                attempt += 1;
                backoff::pause(self.clock, attempt).await;
                Ok(())
            } else if open.len() > 1 && !error.is_unavailable() && !error.is_outcome_unknown() {
                tracing::warn!(%error, claims = open.len(), "Batch failed; retrying claims individually");
                self.commit_each(std::mem::take(&mut open), is_in_doubt, ATTEMPTS).await;
                Ok(())
            } else {
                Err(error)
            };
            if let Err(error) = next {
                self.finish_all(&mut open, &CommitOutcome::Failed(error));
            }
        }
    }

    /// Writes each record by itself, in their order. When several in a row take too long, the rest is not tried: each would
    /// wait for the same lock.
    async fn commit_each(&mut self, records: Vec<&CommitRecord>, is_in_doubt: bool, attempts: u32) {
        let mut timeouts = 0;
        let mut last = None;
        for record in records {
            if let Some(error) = last.clone().filter(|_| timeouts == MOST_TIMEOUTS) {
                self.finish_all(&mut vec![record], &CommitOutcome::Failed(error));
                continue;
            }
            Box::pin(self.commit(vec![record], is_in_doubt, attempts)).await;
            match self.outcomes.get(&record.request.id) {
                Some(CommitOutcome::Failed(error)) if error.is_statement_timeout() => {
                    timeouts += 1;
                    last = Some(error.clone());
                }
                _ => timeouts = 0,
            }
        }
    }

    /// The statement succeeded: what it left out is lost, unless an earlier write in doubt committed it.
    async fn finish(&mut self, mut open: Vec<&CommitRecord>, written: &commit_postgres::Written, is_in_doubt: bool) {
        self.finish_those(&mut open, &written.requests);
        let looked_up = if is_in_doubt {
            self.drop_committed(&mut open).await
        } else {
            Ok(())
        };
        for record in &open {
            let event_id = record.request.event_id;
            if written.revisions.get(&event_id) != Some(&record.request.event_revision) {
                self.events.forget(event_id).await;
            }
        }
        let outcome = looked_up.map_or_else(CommitOutcome::Failed, |()| CommitOutcome::Lost);
        self.finish_all(&mut open, &outcome);
    }

    fn finish_all(&mut self, open: &mut Vec<&CommitRecord>, outcome: &CommitOutcome) {
        let outcomes = open.drain(..).map(|record| (record.request.id, outcome.clone()));
        self.outcomes.extend(outcomes);
    }

    fn finish_those(&mut self, open: &mut Vec<&CommitRecord>, committed: &HashSet<Uuid>) {
        open.retain(|record| {
            let id = record.request.id;
            let is_committed = committed.contains(&id);
            if is_committed {
                self.outcomes.insert(id, CommitOutcome::Committed);
            }
            !is_committed
        });
    }

    /// Drops the records whose requests exist: a commit whose answer was lost may have succeeded.
    async fn drop_committed(&mut self, open: &mut Vec<&CommitRecord>) -> Result<(), DbError> {
        let is_transient = |error: &DbError| error.is_unavailable() || error.is_outcome_unknown();
        let bulk = self.bulk;
        let ids: Vec<Uuid> = open.iter().map(|record| record.request.id).collect();
        let find = || commit_postgres::find_requests(bulk, ids.clone());
        let committed = backoff::retry(self.clock, backoff::RETRIES, is_transient, find).await?;
        self.finish_those(open, &committed);
        Ok(())
    }

    /// Drops the records that exceed the stock or a budget: first come, first served.
    async fn drop_beyond_limits(&mut self, open: &mut Vec<&CommitRecord>) -> Result<(), DbError> {
        let rewards: HashSet<Uuid> = open
            .iter()
            .flat_map(|record| record.grants.iter().map(|grant| grant.reward_id))
            .collect();
        let mut stock = commit_postgres::stock(self.bulk, rewards).await?;
        let mut spent = commit_postgres::spent(self.bulk, open).await?;
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
                self.outcomes.insert(record.request.id, CommitOutcome::Lost);
            }
            fits
        });
        Ok(())
    }
}
