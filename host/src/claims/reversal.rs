//! Reversals: a grant is taken back. What it used is free again, exactly once: the user's slot in the period, the
//! event's budget and the stock. A reversal has its own row and receipt.
//!
//! Must not know: who may reverse.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::cache::GrantedCache;
use super::error::ClaimError;
use super::model::{Grant, Status};
use super::receipt::{Draft, ReversalReceipt, ReversedGrant, SignedReversal, seal};
use super::requests::{Requests, opened};
use super::store::reversal::{self, ReversalRow};
use crate::audit::{self, Entry};
use crate::backoff;
use crate::clock::{Clock, Timestamp};
use crate::correlation;
use crate::db::Db;
use crate::events::EventService;
use crate::fulfilments::{Fulfilment, FulfilmentService};
use crate::keys::Keyring;
use crate::outbox::{self, Message};
use crate::rewards::{RewardService, Taking};
use crate::sandbox::Digest;
use crate::watch::Watch;

/// The reversal of a granted reward request.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reversal {
    pub id: Uuid,
    pub request_id: Uuid,
    #[schema(example = "Bought and returned")]
    pub reason: String,
    pub reversed_by: Uuid,
    pub reversed_at: Timestamp,
    /// All grants of the request
    pub grants: Vec<ReversedGrant>,
}

impl From<ReversalReceipt> for Reversal {
    fn from(receipt: ReversalReceipt) -> Self {
        Self {
            id: receipt.id,
            request_id: receipt.request_id,
            reason: receipt.reason,
            reversed_by: receipt.reversed_by,
            reversed_at: receipt.reversed_at,
            grants: receipt.grants,
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Reversals {
    pub db: Db,
    pub clock: Clock,
    pub keys: Arc<Keyring>,
    pub events: EventService,
    pub rewards: RewardService,
    pub fulfilments: FulfilmentService,
    pub granted_cache: GrantedCache,
    pub requests: Requests,
    pub watch: Watch,
}

/// What is to be taken back.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakeBack<'a> {
    /// Of the reversal. Minted before the first attempt, so that a later one recognises its own reversal.
    pub id: Uuid,
    pub request_id: Uuid,
    pub reason: &'a str,
    pub by: Uuid,
    /// A make-good takes it back, in a background task.
    pub make_good_id: Option<Uuid>,
}

/// Task names in the audit log.
const TASK: &str = "apply make-good";

impl Reversals {
    /// Reverses a granted request. Of any number of concurrent reversals of one request, one succeeds.
    pub(super) async fn reverse(&self, request_id: Uuid, reason: &str, by: Uuid) -> Result<Reversal, ClaimError> {
        self.carry_out(TakeBack {
            id: self.clock.new_id(),
            request_id,
            reason,
            by,
            make_good_id: None,
        })
        .await
    }

    /// Carries out a reversal, once under its id.
    pub(super) async fn carry_out(&self, wanted: TakeBack<'_>) -> Result<Reversal, ClaimError> {
        let TakeBack { id, request_id, by, .. } = wanted;
        let is_transient = |error: &ClaimError| error.is_conflict() || error.is_outcome_unknown();
        let take_back = || self.take_back(wanted);
        let ended = backoff::retry(&self.clock, backoff::RETRIES, is_transient, take_back).await;
        let receipt = match ended {
            Err(ClaimError::AlreadyReversed { reversal_id, .. }) if reversal_id == id => {
                let (_, ours) = self.find(request_id).await?;
                let receipt = ours.and_then(|signed| signed.receipt);
                receipt.ok_or(ClaimError::NoReversal(request_id))?
            }
            Err(error) => {
                if error.is_outcome_unknown() {
                    // Perhaps it was committed, and this process may have cached an old stock.
                    self.rewards.all_changed();
                }
                return Err(error);
            }
            Ok(receipt) => receipt,
        };
        let rewards: Vec<Uuid> = receipt.grants.iter().map(|grant| grant.reward_id).collect();
        self.rewards.changed(&rewards).await;
        self.watch.committed();
        metrics::counter!("meed_reversals_total").increment(1);
        tracing::info!(
            reversal.id = %receipt.id,
            reward_request.id = %request_id,
            event.id = %receipt.event_id,
            user.id = %receipt.user_id,
            reversal.by = %by,
            "grant reversed"
        );
        Ok(receipt.into())
    }

    /// One transaction. It locks in the same order as a claim: the request, then the budget, the stock last.
    async fn take_back(&self, wanted: TakeBack<'_>) -> Result<ReversalReceipt, ClaimError> {
        let TakeBack {
            id,
            request_id,
            reason,
            by,
            make_good_id,
        } = wanted;
        let mut tx = self.db.begin().await?;
        let Some(taken) = reversal::take(&mut tx, request_id).await? else {
            drop(tx);
            return Err(self.why_not(request_id).await?);
        };
        // Before the commit, whose outcome may stay unknown, and before any lock that other transactions wait for.
        self.granted_cache
            .invalidate(taken.event_id, taken.user_id, &taken.period)
            .await;
        let grants = reversal::grants(&mut tx, (taken.user_id, request_id)).await?;
        // Read after the lock was acquired.
        // Later than the grant, which a process whose clock is ahead may have made: messages are told in this order.
        let reversed_at = self.clock.now().max(taken.decided_at.plus(Duration::from_millis(1)));
        let receipt = ReversalReceipt {
            format: ReversalReceipt::FORMAT.to_owned(),
            id,
            request_id,
            event_id: taken.event_id,
            user_id: taken.user_id,
            request_digest: Digest::try_from(taken.receipt_digest.as_slice()).map_err(ClaimError::StoredReceipt)?,
            reason: reason.to_owned(),
            reversed_by: by,
            make_good_id,
            reversed_at,
            grants: grants
                .iter()
                .map(|grant| ReversedGrant {
                    id: grant.id,
                    reward_id: grant.reward_id,
                    quantity: u32::try_from(grant.quantity).unwrap_or(u32::MAX),
                })
                .collect(),
        };
        let draft = Draft::new(&receipt, self.clock.random())?;
        let row = ReversalRow {
            user_id: taken.user_id,
            id: receipt.id,
            request_id,
            reason: receipt.reason.clone(),
            reversed_by: by,
            reversed_at,
            seal: seal(&self.keys, &[draft.digest]).pop().unwrap_or_default(),
            receipt: draft,
        };
        reversal::insert(&mut tx, row).await?;
        reversal::mark_grants(&mut tx, (taken.user_id, request_id)).await?;
        let keys: Vec<_> = grants.iter().map(|grant| (taken.user_id, grant.id)).collect();
        // The subscriber that takes the rewards back must know whether they were delivered.
        let mut fulfilments = self.fulfilments.of(&mut tx, &keys).await?;
        let taken_grants: Vec<Grant> = grants
            .iter()
            .zip(&receipt.grants)
            .map(|(row, taken)| Grant {
                id: taken.id,
                codes: None,
                reward_id: taken.reward_id,
                quantity: taken.quantity,
                reward: row.reward.0.clone(),
                fulfilment: fulfilments
                    .remove(&taken.id)
                    .map_or(Fulfilment::PENDING, |said| said.fulfilment),
            })
            .collect();
        let message = message(&self.clock, &receipt, &taken_grants);
        outbox::write(&mut tx, message).await?;
        let entry = Entry::about("reward-request", &request_id)
            .field("status", Status::Granted, Status::Reversed)
            .field("reason", None::<String>, reason);
        let entry = match make_good_id {
            Some(id) => entry.field("makeGoodId", None::<Uuid>, id).by_server(TASK),
            None => entry,
        };
        audit::record(&mut tx, &self.clock, entry).await?;
        if let (Some(period), Some(amount)) = (&taken.budget_period, taken.budget_amount) {
            self.events.give_back(&mut tx, taken.event_id, period, amount).await?;
        }
        for grant in &grants {
            if let Some(since) = grant.stock_since {
                let taken = Taking {
                    grant_id: grant.id,
                    reward_id: grant.reward_id,
                    quantity: grant.quantity,
                    at: reversed_at,
                };
                self.rewards.give_back(&mut tx, taken, since).await?;
            }
        }
        tx.commit().await?;
        Ok(receipt)
    }

    async fn why_not(&self, request_id: Uuid) -> Result<ClaimError, ClaimError> {
        let request = self.requests.get(request_id).await?;
        let note = reversal::notes(&self.db, &[(request.user_id, request_id)]).await?.pop();
        Ok(match (request.status, note) {
            (_, Some(note)) => ClaimError::AlreadyReversed {
                request_id,
                reversal_id: note.id,
                reversed_at: note.reversed_at,
            },
            // The statement waited for another reversal that has not been seen yet.
            (Status::Granted | Status::Reversed, None) => ClaimError::Contended,
            (status, None) => ClaimError::NotGranted { id: request_id, status },
        })
    }

    /// The id of the request's user, and the receipt of its reversal, if it was reversed.
    pub(super) async fn find(&self, request_id: Uuid) -> Result<(Uuid, Option<SignedReversal>), ClaimError> {
        let user_id = self.requests.get(request_id).await?.user_id;
        let Some(row) = reversal::find(&self.db, (user_id, request_id)).await? else {
            return Ok((user_id, None));
        };
        let receipt = row.receipt.as_deref().map(serde_json::from_str).transpose()?;
        let (salt, digest, signature) = opened(row, &self.keys)?;
        let reversal = SignedReversal {
            receipt,
            salt,
            digest,
            signature,
        };
        Ok((user_id, Some(reversal)))
    }
}

/// The outbox message of a reversal.
fn message(clock: &Clock, receipt: &ReversalReceipt, grants: &[Grant]) -> Message {
    let mut payload = json!({
        "reversalId": receipt.id, "requestId": receipt.request_id, "eventId": receipt.event_id,
        "userId": receipt.user_id, "grants": grants, "reason": receipt.reason, "reversedAt": receipt.reversed_at,
    });
    if let Some(id) = receipt.make_good_id {
        payload["makeGoodId"] = json!(id);
    }
    Message {
        id: clock.new_id(),
        kind: outbox::REWARD_REVERSED,
        user_id: Some(receipt.user_id),
        subject_id: None,
        payload,
        http_request_id: correlation::current(),
        created_at: receipt.reversed_at,
        once_key: None,
    }
}
