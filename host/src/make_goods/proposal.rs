//! The proposal: the event's condition is asked again about the claims of the period, some at a time. The granted ones come
//! first, then those that were refused.
//!
//! What counts is what a user has in a period: if the condition now refuses one claim and grants another one of the same
//! user and period, nothing changes. The place and the entries are written together, so a process that dies repeats at
//! most one page.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::content;
use super::error::MakeGoodError;
use super::service::{MakeGoodService, TASK};
use super::state::{EntryState, Kind, State};
use super::store::entries::{self, EntryRow};
use super::store::{self, MakeGoodRow};
use super::terms::Counts;
use crate::background::lease::Lease;
use crate::claims::{Again, OldClaim, Reason, Slots, Status};
use crate::clock::Timestamp;
use crate::contract::Award;
use crate::db::Json;
use crate::events::Offer;

/// Claims that are asked about between two writes.
const PAGE: i64 = 32;
/// The most entries.
const MAX_ENTRIES: u64 = 100_000;
/// The longest rest after some work. Work and rest are equally long, so claims keep the processor.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// What one page of claims changes.
struct Page {
    counts: Counts,
    found: Vec<EntryRow>,
    /// Entries of earlier pages that are not needed any more: user and id.
    cancelled: Vec<(Uuid, Uuid)>,
}

impl MakeGoodService {
    /// Asks about the next claims.
    pub(super) async fn propose(&self, row: &MakeGoodRow, lease: &Lease) -> Result<(), MakeGoodError> {
        let began = Instant::now();
        let offer = self.events.recent(row.event_id).await?;
        let problem = if !Self::is_as_asked(row, &offer.event) {
            Some("The event has another condition now. Propose it again.".to_owned())
        } else if !offer.event.is_active {
            Some("The event is not active. Activate it, and propose it again.".to_owned())
        } else if row.counts.0.grants + row.counts.0.reversals > MAX_ENTRIES {
            Some(format!(
                "There are more than {MAX_ENTRIES} entries. Choose a shorter period."
            ))
        } else {
            None
        };
        if problem.is_some() {
            return self.write(row, lease, None, problem).await;
        }
        let status: Status = row.looked_at.parse().unwrap_or(Status::Granted);
        let first = Uuid::from_u128(row.from_at.first_id().as_u128().saturating_sub(1));
        let ids = (row.last_claim.unwrap_or(first), row.to_at.first_id());
        let claims = self.claims.old_claims(row.event_id, status, ids, PAGE).await?;
        let mut page = Page {
            counts: row.counts.0.clone(),
            found: Vec::new(),
            cancelled: Vec::new(),
        };
        for claim in &claims {
            match status {
                Status::Granted => self.look_at_granted(row, &offer, claim, &mut page).await?,
                _ => self.look_at_refused(row, &offer, (claim, status), &mut page).await?,
            }
        }
        let last = claims.last().map(|claim| claim.id);
        self.write(row, lease, Some((page, status, last)), None).await?;
        tokio::time::sleep(began.elapsed().min(LONGEST_REST)).await;
        Ok(())
    }

    async fn look_at_granted(
        &self,
        row: &MakeGoodRow,
        offer: &Offer,
        claim: &OldClaim,
        page: &mut Page,
    ) -> Result<(), MakeGoodError> {
        page.counts.claims += 1;
        match self.claims.would_keep(offer, claim, row.known_by).await? {
            Again::Granted { .. } => {}
            Again::Refused(reasons) => {
                let id = self.clock.new_id();
                let entry = self.entry((row, claim), (id, Kind::Reverse, claim.slot), Vec::new(), reasons);
                page.found.push(entry);
                page.counts.reversals += 1;
            }
            Again::Open(code) => open(&code, &mut page.counts),
        }
        Ok(())
    }

    async fn look_at_refused(
        &self,
        row: &MakeGoodRow,
        offer: &Offer,
        (claim, status): (&OldClaim, Status),
        page: &mut Page,
    ) -> Result<(), MakeGoodError> {
        if !claim.was_refused_by_the_rule(status) {
            return Ok(());
        }
        page.counts.claims += 1;
        if entries::was_made_good(&self.db, claim.user_id, claim.id).await? {
            page.counts.granted_otherwise += 1;
            return Ok(());
        }
        let mut own = entries::about(&self.db, claim.user_id, row.id).await?;
        own.retain(|entry| !page.cancelled.contains(&(entry.user_id, entry.id)));
        own.extend(
            page.found
                .iter()
                .filter(|entry| entry.user_id == claim.user_id)
                .cloned(),
        );
        own.retain(|entry| entry.period == claim.period);
        let of = |kind| -> Vec<u32> {
            let entries = own.iter().filter(|entry| entry.kind == kind);
            entries.filter_map(|entry| u32::try_from(entry.slot).ok()).collect()
        };
        let slots = Slots {
            taken: of(Kind::Grant),
            freed: of(Kind::Reverse),
        };
        match self.claims.would_grant(offer, claim, row.known_by, &slots).await? {
            Again::Granted { slot, awards } => {
                if let Some(reversal) = own.iter().find(|entry| entry.kind == Kind::Reverse) {
                    // The user has what the user should have, for another claim.
                    page.cancelled.push((reversal.user_id, reversal.id));
                    page.counts.reversals = page.counts.reversals.saturating_sub(1);
                    page.counts.granted_otherwise += 1;
                    return Ok(());
                }
                let id = self.clock.new_id_at(claim.received_at);
                page.found
                    .push(self.entry((row, claim), (id, Kind::Grant, slot), awards, Vec::new()));
                page.counts.grants += 1;
            }
            Again::Refused(_) => {}
            Again::Open(code) => open(&code, &mut page.counts),
        }
        Ok(())
    }

    fn entry(
        &self,
        (row, claim): (&MakeGoodRow, &OldClaim),
        (id, kind, slot): (Uuid, Kind, u32),
        awards: Vec<Award>,
        reasons_now: Vec<Reason>,
    ) -> EntryRow {
        EntryRow {
            user_id: claim.user_id,
            id,
            make_good_id: row.id,
            kind,
            state: EntryState::Pending,
            request_id: claim.id,
            received_at: claim.received_at,
            period: claim.period.clone(),
            slot: i64::from(slot),
            awards: Json(awards),
            reasons_before: Json(claim.reasons.clone()),
            reasons_now: Json(reasons_now),
            skipped: None,
            updated_at: self.clock.now(),
        }
    }

    /// Writes a page and the place after it, or why there is no proposal.
    async fn write(
        &self,
        row: &MakeGoodRow,
        lease: &Lease,
        page: Option<(Page, Status, Option<Uuid>)>,
        problem: Option<String>,
    ) -> Result<(), MakeGoodError> {
        let mut tx = self.db.begin().await?;
        let before = self.lock(&mut tx, row.id).await?;
        if before.state != State::Proposing || !store::has_fence(&mut tx, row.id, lease.fence()).await? {
            return Ok(());
        }
        if let Some(problem) = problem {
            self.fail(&mut tx, &before, problem).await?;
        }
        if let Some((page, status, last)) = page {
            let now = self.clock.now();
            let mut after = before.clone();
            after.counts = Json(page.counts);
            for (user_id, id) in &page.cancelled {
                entries::delete(&mut tx, *user_id, *id).await?;
            }
            for entry in page.found {
                if !page.cancelled.contains(&(entry.user_id, entry.id)) {
                    entries::insert(&mut tx, entry).await?;
                }
            }
            match (last, next(status)) {
                (Some(last), _) => self.go_on(&mut tx, after, (status, Some(last)), now).await?,
                (None, Some(next)) => self.go_on(&mut tx, after, (next, None), now).await?,
                (None, None) => {
                    content::summary(&mut tx, &after).await?.write_to(&mut after);
                    after.state = State::Proposed;
                    self.change(&mut tx, &before, after, Some(TASK)).await?;
                }
            }
        }
        tx.commit().await?;
        Ok(())
    }

    async fn go_on(
        &self,
        tx: &mut crate::db::Tx,
        mut row: MakeGoodRow,
        (status, last): (Status, Option<Uuid>),
        now: Timestamp,
    ) -> Result<(), MakeGoodError> {
        row.looked_at = status.to_string();
        row.last_claim = last;
        row.updated_at = now.max(row.updated_at);
        Ok(store::update(tx, row).await?)
    }
}

/// The claims that are looked at after those with this status.
fn next(status: Status) -> Option<Status> {
    match status {
        Status::Granted => Some(Status::Rejected),
        Status::Rejected => Some(Status::Failed),
        _ => None,
    }
}

/// Counts a claim that stays as it is, because the condition does not decide it.
fn open(code: &str, counts: &mut Counts) {
    match code {
        "needs-review" => counts.reviews += 1,
        "already-granted" => counts.granted_otherwise += 1,
        _ => counts.unknown += 1,
    }
}
