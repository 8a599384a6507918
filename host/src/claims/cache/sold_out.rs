//! Users who were turned away because everything is gone, and ask again: a crowd at a sold-out event does little else.
//!
//! The first time each gets a decision and a receipt like anyone. From then on the same answer is given from memory, while
//! the event is unchanged and the database said within the last second that its stock is gone and that nothing was added
//! to it since the decision: neither raised nor given back, not even for a moment in which this user may have been granted
//! something, here or at another process. This only ever repeats what was decided and stored: it grants nothing. Claims
//! under an Idempotency-Key do not come here.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use uuid::Uuid;

use crate::claims::interactive::ClaimAnswer;
use crate::claims::model::{RewardRequest, Source, Status};
use crate::claims::record::ClaimInput;
use crate::claims::service::{ClaimError, Claims};
use crate::events::Offer;
use crate::rewards::StockVersion;

/// Answers that are remembered, at about a kilobyte each.
const REMEMBERED: u64 = 50_000;
const REMEMBERED_FOR: Duration = Duration::from_mins(10);

#[derive(Clone)]
pub(in crate::claims) struct SoldOutCache {
    /// By event and user.
    answers: Cache<(Uuid, Uuid), Arc<Answer>>,
}

struct Answer {
    request_id: Uuid,
    event_revision: i64,
    period: String,
    /// How often the event's rewards had been added to before the decision.
    stock_version: StockVersion,
    json: String,
}

impl SoldOutCache {
    pub(in crate::claims) fn new() -> Self {
        Self {
            answers: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(REMEMBERED_FOR)
                .build(),
        }
    }

    /// Takes note of what a claim on this offer, which was read before its facts, was answered with.
    pub(in crate::claims) fn note(&self, offer: &Offer, request: &RewardRequest) {
        let whose = (request.event_id, request.user_id);
        let is_gone = request.status == Status::Rejected
            && matches!(&request.reasons[..], [reason] if reason.source == Source::Host && reason.code == "sold-out");
        if is_gone && let Ok(json) = serde_json::to_string(request) {
            let answer = Answer {
                request_id: request.id,
                event_revision: request.event_revision,
                period: request.period.clone(),
                stock_version: StockVersion::of(&offer.rewards),
                json,
            };
            self.answers.insert(whose, Arc::new(answer));
        } else {
            self.answers.invalidate(&whose);
        }
    }
}

impl Claims {
    /// The answer that this user got before, if it must be the same now.
    pub(in crate::claims) async fn sold_out_again(
        &self,
        claim: &ClaimInput,
    ) -> Result<Option<ClaimAnswer>, ClaimError> {
        let Some(answer) = self.sold_out_cache.answers.get(&(claim.event_id, claim.user_id)) else {
            return Ok(None);
        };
        let offer = self.events.recent(claim.event_id).await?;
        let event = &offer.event;
        let is_the_same = claim.key.is_none()
            && !event.respond_async
            && event.revision == answer.event_revision
            && claim.received_at < event.end_date
            && event.recurrence.period.key(claim.received_at, &offer.zone) == answer.period
            && self.rewards.sold_out_version(event.id).await == Some(answer.stock_version);
        Ok(is_the_same.then(|| ClaimAnswer::SoldOutAgain {
            request_id: answer.request_id,
            answer: answer.json.clone(),
        }))
    }
}
