//! A user's progress in an event: the decision on a claim that is not made, now or at an earlier instant. Nothing is stored.

use uuid::Uuid;

use super::decision::{Decided, Judge, Judged};
use super::error::ClaimError;
use super::model::{ALREADY_GRANTED, EventProgress, Reason, Status};
use super::store::queue;
use super::verdict::Verdict;
use crate::clock::{Clock, Timestamp};
use crate::db::Db;
use crate::events::{EventService, Purpose};
use crate::facts::Instants;

pub(super) struct Progress {
    pub db: Db,
    pub clock: Clock,
    pub events: EventService,
    pub judge: Judge,
}

impl Progress {
    /// As of now.
    pub(super) async fn of(&self, user_id: Uuid, event_id: Uuid) -> Result<EventProgress, ClaimError> {
        self.asked(user_id, event_id, None, None).await
    }

    /// With a separate seed, which reveals no draw of a later claim. About the past, the event and its condition are as
    /// they are now; its stock, budget and group, and the user's claims that are not decided, do not count.
    pub(super) async fn asked(
        &self,
        user_id: Uuid,
        event_id: Uuid,
        as_of: Option<Timestamp>,
        known_by: Option<Timestamp>,
    ) -> Result<EventProgress, ClaimError> {
        let instants = Instants::asked(as_of, known_by, self.clock.now())?;
        let now = instants.as_of;
        let offer = self.events.recent(event_id).await?;
        let input = self.judge.read(user_id, &offer, instants).await?;
        let judged = self.judge.judge(&input, &offer, Purpose::Preview).await?;
        let Judged::Decided(Decided {
            slot, granted, verdict, ..
        }) = judged
        else {
            return Err(ClaimError::Disabled);
        };
        let limit = offer.event.recurrence.count;
        let pending = match instants.known_by {
            None => queue::of_user(&self.db, event_id, user_id).await?,
            Some(_) => None,
        };
        let mut progress = EventProgress {
            event_id,
            as_of: instants.known_by.map(|_| now),
            known_by: instants.known_by,
            eligible: verdict.status == Status::Granted,
            reasons: verdict.reasons,
            progress: verdict.progress,
            retry_at: verdict.retry_at,
            period: slot.period,
            granted,
            limit,
            pending_request_id: pending.map(|row| row.id),
            held_request_id: input.held_claim(),
        };
        if granted >= limit {
            let reason = Reason::host("already-granted", ALREADY_GRANTED);
            progress.eligible = false;
            progress.reasons.insert(0, reason);
            progress.retry_at = offer.next_period_start(now);
        } else if let Some(id) = input.held_claim() {
            progress.eligible = false;
            progress.reasons.splice(0..0, Verdict::claim_held(id).reasons);
            progress.retry_at = None;
        } else if verdict.status == Status::Failed {
            return Err(ClaimError::ConditionFailed);
        }
        Ok(progress)
    }
}
