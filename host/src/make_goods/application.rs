//! The application of an approved make-good: reversals first, so that grants can use what they free, then grants in the
//! order in which their claims arrived.
//!
//! Each entry is committed like any claim or reversal, under an id that the entry had from the beginning. So a process that
//! dies between a commit and its note leaves an entry that the next process finds done.

use uuid::Uuid;

use super::error::MakeGoodError;
use super::service::{MakeGoodService, TASK};
use super::state::{EntryState, Kind, State};
use super::store::entries::{self, EntryRow};
use super::store::{self, MakeGoodRow};
use crate::background::lease::Lease;
use crate::claims::{Applied, Ordered};

/// Entries that are applied between two notes.
const PAGE: i64 = 16;

impl MakeGoodService {
    /// Applies the next entries.
    pub(super) async fn apply(&self, row: &MakeGoodRow, lease: &Lease) -> Result<(), MakeGoodError> {
        if row.state == State::Approved {
            return self.begin(row, lease).await;
        }
        let entries = self.next_entries(row).await?;
        // An entry that fails for now leaves no result either, and more to do.
        let is_over = entries.is_empty();
        let (mut results, mut stopped) = (Vec::new(), None);
        for entry in entries {
            if lease.is_lost() {
                break;
            }
            let applied = match self.apply_entry(row, &entry).await {
                Err(MakeGoodError::Claim(error)) if !error.is_temporary() => {
                    // It must not stop the others.
                    tracing::error!(make_good.id = %row.id, entry.id = %entry.id, %error, "an entry cannot be applied");
                    Applied::Skipped("failed".to_owned())
                }
                Err(error) => {
                    self.note(row, lease, (results, false), None).await?;
                    return Err(error);
                }
                Ok(applied) => applied,
            };
            if let Applied::Stopped(code) = applied {
                stopped = Some(code);
                break;
            }
            results.push((entry, applied));
        }
        self.note(row, lease, (results, is_over), stopped).await
    }

    async fn begin(&self, row: &MakeGoodRow, lease: &Lease) -> Result<(), MakeGoodError> {
        let mut tx = self.db.begin().await?;
        let before = self.lock(&mut tx, row.id).await?;
        if before.state == State::Approved && store::has_fence(&mut tx, row.id, lease.fence()).await? {
            let after = MakeGoodRow {
                state: State::Applying,
                ..before.clone()
            };
            self.change(&mut tx, &before, after, Some(TASK)).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Reversals, then grants: the id of a grant is as old as its claim, and that of a reversal as the proposal.
    async fn next_entries(&self, row: &MakeGoodRow) -> Result<Vec<EntryRow>, MakeGoodError> {
        let pending = EntryState::Pending;
        let reversals = entries::in_state(&self.db, row.id, pending, row.created_at.first_id(), PAGE).await?;
        if !reversals.is_empty() {
            return Ok(reversals);
        }
        Ok(entries::in_state(&self.db, row.id, pending, Uuid::nil(), PAGE).await?)
    }

    async fn apply_entry(&self, row: &MakeGoodRow, entry: &EntryRow) -> Result<Applied, MakeGoodError> {
        let condition = &row.condition.0;
        let ordered = Ordered {
            make_good_id: row.id,
            id: entry.id,
            event_id: row.event_id,
            user_id: entry.user_id,
            request_id: entry.request_id,
            received_at: entry.received_at,
            known_by: row.known_by,
            awards: &entry.awards.0,
            condition: (condition.digest, &condition.params),
        };
        Ok(match entry.kind {
            Kind::Grant => self.claims.grant_again(&ordered).await?,
            Kind::Reverse => {
                let reason = format!("{} (make-good {})", row.title, row.id);
                let by = row.approved_by.unwrap_or(row.created_by);
                self.claims.reverse_again(&ordered, &reason, by).await?
            }
        })
    }

    /// Notes what was done, and whether nothing is left.
    async fn note(
        &self,
        row: &MakeGoodRow,
        lease: &Lease,
        (results, is_over): (Vec<(EntryRow, Applied)>, bool),
        stopped: Option<&'static str>,
    ) -> Result<(), MakeGoodError> {
        let mut tx = self.db.begin().await?;
        let before = self.lock(&mut tx, row.id).await?;
        if before.state != State::Applying || !store::has_fence(&mut tx, row.id, lease.fence()).await? {
            return Ok(());
        }
        let now = self.clock.now();
        let mut after = before.clone();
        for (entry, applied) in results {
            let (state, skipped) = match applied {
                Applied::Skipped(code) => (EntryState::Skipped, Some(code)),
                Applied::Done | Applied::Stopped(_) => (EntryState::Applied, None),
            };
            let is_applied = state == EntryState::Applied;
            if entries::end(&mut tx, (entry.user_id, entry.id), state, skipped, now).await? {
                after.counts.0.applied += u64::from(is_applied);
                after.counts.0.skipped += u64::from(!is_applied);
            }
        }
        after.updated_at = now.max(before.updated_at);
        if let Some(code) = stopped {
            store::update(&mut tx, after.clone()).await?;
            let reason =
                format!("{code}: the event is not as it was when the make-good was approved. Propose the rest again.");
            self.fail(&mut tx, &after, reason).await?;
        } else if is_over {
            after.state = State::Applied;
            self.change(&mut tx, &before, after, Some(TASK)).await?;
        } else {
            store::update(&mut tx, after).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
