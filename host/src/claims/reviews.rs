//! Reviews: a person decides a held claim, once. An approval grants what the condition awarded, by the terms of its decision
//! and within the stock and budget of now. A denial rejects the claim, and so does the end of the time for a review.
//!
//! Must not know: who may review.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::error::ClaimError;
use super::model::{Grant, GrantedReward, RewardRequest, Status};
use super::receipt::{Draft, GivenReward, Outcome, Proof, Receipt, Terms, seal};
use super::record::{granted, spending};
use super::requests::Requests;
use super::review::{Review, ReviewOutcome};
use super::store::{CommitRecord, GrantRow, RequestRow, TermsRow, commit_rows, reviews};
use super::verdict::{BUDGET_SPENT, SOLD_OUT, Verdict};
use crate::audit::{self, Entry};
use crate::backoff;
use crate::clock::{Clock, Timestamp};
use crate::correlation;
use crate::db::{Db, DbError, Json};
use crate::events::{EventError, EventService, Offer};
use crate::fulfilments::Fulfilment;
use crate::keys::Keyring;
use crate::outbox::{self, Message};
use crate::rewards::{RewardError, RewardService};
use crate::watch::Watch;

/// Held claims that are read at once when their time is over.
const EXPIRED_AT_ONCE: i64 = 100;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Reviews {
    pub db: Db,
    pub clock: Clock,
    pub keys: Arc<Keyring>,
    pub events: EventService,
    pub rewards: RewardService,
    pub requests: Requests,
    /// How long a denial stands.
    pub denial: Duration,
    pub watch: Watch,
}

/// A decision on a held claim: by an operator, or by the task that rejects expired ones.
#[derive(Clone, Copy)]
struct Ruling<'a> {
    outcome: ReviewOutcome,
    reason: Option<&'a str>,
    by: Option<Uuid>,
}

impl Reviews {
    /// Approves or denies a held claim. Of any number of concurrent reviews of one claim, one succeeds; the same review again
    /// changes nothing.
    pub(super) async fn decide(
        &self,
        request_id: Uuid,
        outcome: ReviewOutcome,
        reason: &str,
        by: Uuid,
    ) -> Result<RewardRequest, ClaimError> {
        let ruling = Ruling {
            outcome,
            reason: Some(reason),
            by: Some(by),
        };
        self.rule(request_id, ruling).await?;
        self.requests.get(request_id).await
    }

    /// Rejects the held claims that were not reviewed in time, and returns their number.
    pub(super) async fn expire(&self) -> Result<u64, ClaimError> {
        const EXPIRED: Ruling<'_> = Ruling {
            outcome: ReviewOutcome::Expired,
            reason: None,
            by: None,
        };
        let (mut expired, mut skipped) = (0, 0);
        loop {
            let rows = reviews::expired(&self.db, self.clock.now(), skipped, EXPIRED_AT_ONCE).await?;
            let is_last = rows.len() < usize::try_from(EXPIRED_AT_ONCE).unwrap_or_default();
            for (_, id) in rows {
                match self.rule(id, EXPIRED).await {
                    Ok(()) => expired += 1,
                    Err(error) if error.database_error().is_some_and(DbError::is_outage) => return Err(error),
                    Err(error) => {
                        // It must not stop the others.
                        tracing::error!(reward_request.id = %id, %error, "a held claim cannot expire");
                        skipped += 1;
                    }
                }
            }
            if is_last {
                return Ok(expired);
            }
        }
    }

    async fn rule(&self, request_id: Uuid, ruling: Ruling<'_>) -> Result<(), ClaimError> {
        let is_transient = |error: &ClaimError| {
            error.is_conflict() || error.is_outcome_unknown() || matches!(error, ClaimError::Contended)
        };
        let attempt = || self.attempt(request_id, ruling);
        backoff::retry(&self.clock, backoff::RETRIES, is_transient, attempt).await
    }

    async fn attempt(&self, request_id: Uuid, ruling: Ruling<'_>) -> Result<(), ClaimError> {
        let request = self.requests.get(request_id).await?;
        if ruling.by == Some(request.user_id) {
            return Err(ClaimError::OwnReview);
        }
        if request.status != Status::Held {
            return already_decided(&request, ruling);
        }
        let offer = match ruling.outcome {
            ReviewOutcome::Approved => Some(self.offer(request.event_id).await?),
            ReviewOutcome::Denied | ReviewOutcome::Expired => None,
        };
        let (record, review) = self.record(&request, ruling, offer.as_deref()).await?;
        self.write(&record, &review, offer.as_deref()).await?;
        self.watch.committed();
        metrics::counter!("meed_reviews_total", "outcome" => review.outcome.as_str()).increment(1);
        tracing::info!(
            reward_request.id = %request_id,
            event.id = %request.event_id,
            user.id = %request.user_id,
            review.outcome = review.outcome.as_str(),
            review.by = ?ruling.by,
            "held claim decided"
        );
        Ok(())
    }

    /// The event as it is now. It may have changed or ended after the claim.
    async fn offer(&self, event_id: Uuid) -> Result<Arc<Offer>, ClaimError> {
        let offer = match self.events.recent(event_id).await {
            Err(EventError::NotFound(_)) => return Err(not_grantable("event-deleted", "The event was deleted.")),
            offer => offer?,
        };
        if offer.event.is_active {
            Ok(offer)
        } else {
            Err(not_grantable("event-inactive", "The event is not active."))
        }
    }

    /// What the review writes. `offer`: whose budget a grant is taken from.
    async fn record(
        &self,
        request: &RewardRequest,
        ruling: Ruling<'_>,
        offer: Option<&Offer>,
    ) -> Result<(CommitRecord, Review), ClaimError> {
        let (user_id, signed) = self.requests.receipt(request.id).await?;
        let proof = Proof::from(signed.clone());
        let evaluation = proof.content().and_then(|content| content.into_owned().evaluation);
        let (Some(held), Some(terms), Some(evaluation)) = (signed.receipt, signed.terms, evaluation) else {
            return Err(ClaimError::StoredReceipt(
                "the content of a held claim is missing".to_owned(),
            ));
        };
        let Outcome::Decision(decision) = &evaluation.outcome else {
            return Err(ClaimError::StoredReceipt("a held claim has no decision".to_owned()));
        };
        // Messages are told in this order, whatever the clocks say.
        let reviewed_at = self.clock.now().max(held.decided_at.plus(Duration::from_millis(1)));
        let review = Review {
            request_id: request.id,
            outcome: ruling.outcome,
            reason: ruling.reason.map(str::to_owned),
            reviewed_by: ruling.by,
            reviewed_at,
            held_at: held.decided_at,
        };
        let verdict = Verdict::of_review(decision, &evaluation.context.rewards, evaluation.budget_amount, &review);
        let mut grants = self.grants(&terms, &verdict, reviewed_at)?;
        for grant in &mut grants {
            match self.rewards.get(grant.reward_id).await {
                Err(RewardError::NotFound(_)) => return Err(not_grantable("reward-deleted", "A reward was deleted.")),
                reward => grant.reward.codes = reward?.codes,
            }
        }
        let receipt = Receipt {
            decided_at: reviewed_at,
            status: verdict.status,
            reasons: verdict.reasons.clone(),
            awards: grants.iter().map(given).collect(),
            review: Some(review.clone()),
            ..held
        };
        let digest = receipt.terms;
        let draft = Draft::new(&receipt, self.clock.random())?;
        let row = RequestRow {
            id: request.id,
            event_id: request.event_id,
            event_revision: request.event_revision,
            user_id,
            plugin_digest: request.plugin_digest,
            status: verdict.status,
            period: receipt.period,
            slot: i64::from(receipt.slot),
            reasons: Json(verdict.reasons),
            progress: Json(verdict.progress),
            retry_at: (review.outcome == ReviewOutcome::Denied).then(|| reviewed_at.plus(self.denial)),
            received_at: request.received_at,
            decided_at: reviewed_at,
            review: Some(Json(review.clone())),
            fuel: None,
            make_good_id: None,
        };
        let record = CommitRecord {
            seal: seal(&self.keys, &[draft.digest]).pop().unwrap_or_default(),
            receipt: draft,
            terms: Arc::new(TermsRow::stored(digest)),
            refusal: None,
            grants: grants.iter().map(|grant| grant_row(&row, grant)).collect(),
            spending: offer.and_then(|offer| spending(offer, &grants, request.received_at)),
            messages: vec![self.message(&row, &grants, &review)],
            response: None,
            fence: None,
            // The row keeps the number that it got when it was held.
            group: None,
            request: row,
        };
        Ok((record, review))
    }

    /// What the terms offered, whatever the event offers now. In the order of the rewards' ids, as every claim.
    fn grants(&self, terms: &Terms, verdict: &Verdict, granted_at: Timestamp) -> Result<Vec<Grant>, ClaimError> {
        let mut grants = Vec::with_capacity(verdict.awards.len());
        for award in &verdict.awards {
            let mut offered = terms.rewards.iter();
            let reward = offered.find(|reward| reward.id.to_string() == award.reward_id);
            let reward = reward.ok_or_else(|| ClaimError::ForeignReward(award.reward_id.clone()))?;
            grants.push(Grant {
                id: self.clock.new_id_at(granted_at),
                codes: None,
                reward_id: reward.id,
                quantity: award.quantity,
                reward: GrantedReward {
                    type_: reward.type_.clone(),
                    item_id: reward.item_id.clone(),
                    value: reward.value,
                    duration: reward.duration.clone(),
                    revision: reward.revision,
                    // The terms do not say it, and it never changes.
                    codes: false,
                },
                fulfilment: Fulfilment::PENDING,
            });
        }
        grants.sort_by_key(|grant| grant.reward_id);
        Ok(grants)
    }

    /// One transaction. It locks in the same order as a claim: the event, the request, then the budget, the stock last.
    async fn write(&self, record: &CommitRecord, review: &Review, offer: Option<&Offer>) -> Result<(), ClaimError> {
        let request = &record.request;
        let mut tx = self.db.begin().await?;
        if let Some(offer) = offer {
            if !self
                .events
                .confirm(&mut tx, offer.event.id, offer.event.revision)
                .await?
            {
                return Err(ClaimError::Contended);
            }
            if reviews::is_disabled(&mut tx, request.user_id).await? {
                return Err(not_grantable("account-disabled", "The user's account is disabled."));
            }
        }
        if !reviews::replace(&mut tx, record, review).await? {
            // The next attempt says why.
            return Err(ClaimError::Contended);
        }
        commit_rows::insert_grants(&mut tx, record).await?;
        commit_rows::insert_messages(&mut tx, record).await?;
        if review.reviewed_by.is_some() {
            let entry = Entry::about("reward-request", &request.id)
                .field("status", Status::Held, request.status)
                .field("reason", None::<String>, &review.reason);
            audit::record(&mut tx, &self.clock, entry).await?;
        }
        if let Some(spending) = &record.spending
            && !self
                .events
                .spend(&mut tx, request.event_id, &spending.period, spending.amount)
                .await?
        {
            return Err(not_grantable(
                BUDGET_SPENT,
                "The rest of the event's budget is too small.",
            ));
        }
        for grant in &record.grants {
            if !self.rewards.take(&mut tx, grant.taking(request.decided_at)).await? {
                return Err(not_grantable(SOLD_OUT, "A reward is sold out."));
            }
        }
        Ok(tx.commit().await?)
    }

    fn message(&self, request: &RequestRow, grants: &[Grant], review: &Review) -> Message {
        let (kind, payload) = if request.status == Status::Granted {
            (outbox::REWARD_GRANTED, granted(request, grants))
        } else {
            (
                outbox::CLAIM_DENIED,
                json!({
                    "requestId": request.id, "eventId": request.event_id, "userId": request.user_id,
                    "outcome": review.outcome, "reason": review.reason, "deniedAt": review.reviewed_at,
                }),
            )
        };
        Message {
            id: self.clock.new_id(),
            kind,
            user_id: Some(request.user_id),
            subject_id: None,
            payload,
            http_request_id: correlation::current(),
            created_at: request.decided_at,
            once_key: None,
        }
    }
}

/// Nothing to do if the claim has this very review: the response to it was lost.
fn already_decided(request: &RewardRequest, ruling: Ruling<'_>) -> Result<(), ClaimError> {
    match &request.review {
        Some(review)
            if (review.outcome, review.reason.as_deref(), review.reviewed_by)
                == (ruling.outcome, ruling.reason, ruling.by) =>
        {
            Ok(())
        }
        Some(review) => Err(ClaimError::AlreadyReviewed {
            request_id: request.id,
            outcome: review.outcome,
            reviewed_at: review.reviewed_at,
        }),
        None => Err(ClaimError::NotHeld {
            id: request.id,
            status: request.status,
        }),
    }
}

fn not_grantable(cause: &'static str, message: &str) -> ClaimError {
    let message = message.to_owned();
    ClaimError::NotGrantable { cause, message }
}

fn given(grant: &Grant) -> GivenReward {
    GivenReward {
        reward_id: grant.reward_id,
        revision: grant.reward.revision,
        quantity: grant.quantity,
        item_id: grant.reward.item_id.clone(),
        duration: grant.reward.duration.clone(),
    }
}

fn grant_row(request: &RequestRow, grant: &Grant) -> GrantRow {
    GrantRow {
        user_id: request.user_id,
        id: grant.id,
        request_id: request.id,
        reward_id: grant.reward_id,
        quantity: i64::from(grant.quantity),
        reward: Json(grant.reward.clone()),
    }
}
