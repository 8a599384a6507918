//! Taking a grant back. What it used is free again, exactly once: the user's place in the period, the event's budget and
//! the stock. It is a row of its own, with a receipt.
//!
//! Must not know: who may do so.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::commit::full_jitter;
use super::model::{Grant, Status};
use super::receipt::{ReversalReceipt, Sealed, SignedReversal, TakenBack};
use super::service::{ClaimError, Claims};
use super::store::reversal::{self, ReversalRow};
use super::{messages, store};
use crate::clock::Timestamp;
use crate::fulfilments::Fulfilment;
use crate::sandbox::Digest;

/// How often a reversal starts over when the database reports a conflict.
const TRIES: u32 = 6;

/// A grant that was taken back.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reversal {
    pub id: Uuid,
    pub request_id: Uuid,
    #[schema(example = "Bought and returned")]
    pub reason: String,
    pub reversed_by: Uuid,
    pub reversed_at: Timestamp,
    /// All that the request granted
    pub grants: Vec<TakenBack>,
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

impl Claims {
    /// Of any number of reversals of one request, one succeeds.
    pub(super) async fn reverse(&self, request_id: Uuid, reason: &str, by: Uuid) -> Result<Reversal, ClaimError> {
        // Minted before, so that whoever lost the answer to its commit finds its own reversal when it tries again.
        let id = self.clock.new_id();
        let mut attempt = 0;
        let ended = loop {
            match self.take_back(id, request_id, reason, by).await {
                Err(error) if (error.is_conflict() || error.is_outcome_unknown()) && attempt < TRIES => {
                    attempt += 1;
                    tokio::time::sleep(full_jitter(&self.clock, attempt)).await;
                }
                ended => break ended,
            }
        };
        // What this process believed before may not be so any more, however the commit ended.
        self.rewards.changed();
        let receipt = match ended {
            Err(ClaimError::AlreadyReversed { reversal_id, .. }) if reversal_id == id => {
                let (_, ours) = self.reversal(request_id).await?;
                ours.ok_or(ClaimError::NoReversal(request_id))?.receipt
            }
            ended => ended?,
        };
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

    /// One transaction. It touches things in the order in which claims do: the request, then what was counted, the stock
    /// last.
    async fn take_back(
        &self,
        id: Uuid,
        request_id: Uuid,
        reason: &str,
        by: Uuid,
    ) -> Result<ReversalReceipt, ClaimError> {
        let mut tx = self.db.begin().await?;
        let Some(taken) = reversal::take(&mut tx, request_id).await? else {
            drop(tx);
            return Err(self.why_not(request_id).await?);
        };
        // Before the commit, as nobody may ever learn how that ended; and before anything is locked that others wait for.
        self.granted_cache
            .invalidate(taken.event_id, taken.user_id, &taken.period)
            .await;
        let grants = reversal::grants(&mut tx, request_id).await?;
        // Read after the lock was got.
        let reversed_at = self.clock.now();
        let receipt = ReversalReceipt {
            format: ReversalReceipt::FORMAT.to_owned(),
            id,
            request_id,
            event_id: taken.event_id,
            user_id: taken.user_id,
            request_digest: Digest::of(taken.receipt.as_bytes()),
            reason: reason.to_owned(),
            reversed_by: by,
            reversed_at,
            grants: grants
                .iter()
                .map(|grant| TakenBack {
                    id: grant.id,
                    reward_id: grant.reward_id,
                    quantity: u32::try_from(grant.quantity).unwrap_or(u32::MAX),
                })
                .collect(),
        };
        let sealed = Sealed::new(&receipt, &self.keys)?;
        let row = ReversalRow {
            id: receipt.id,
            request_id,
            reason: receipt.reason.clone(),
            reversed_by: by,
            reversed_at,
            receipt: sealed.text,
            receipt_key_id: sealed.key_id,
            receipt_signature: sealed.signature,
        };
        reversal::insert(&mut tx, row).await?;
        let ids: Vec<Uuid> = grants.iter().map(|grant| grant.id).collect();
        // Whoever must fetch it back wants to know whether it was delivered.
        let mut said = self.fulfilments.of(&mut tx, &ids).await?;
        let given: Vec<Grant> = grants
            .iter()
            .zip(&receipt.grants)
            .map(|(row, taken)| Grant {
                id: taken.id,
                reward_id: taken.reward_id,
                quantity: taken.quantity,
                reward: row.reward.0.clone(),
                fulfilment: said
                    .remove(&taken.id)
                    .map_or(Fulfilment::PENDING, |said| said.fulfilment),
            })
            .collect();
        let told = messages::of_reversal(&self.clock, &receipt, &given, taken.decided_at);
        store::insert_outbox(&mut tx, told).await?;
        if let (Some(period), Some(amount)) = (&taken.budget_period, taken.budget_amount) {
            self.events.give_back(&mut tx, taken.event_id, period, amount).await?;
        }
        for grant in &grants {
            if let Some(since) = grant.stock_since {
                self.rewards
                    .give_back(&mut tx, grant.reward_id, grant.quantity, since)
                    .await?;
            }
        }
        tx.commit().await?;
        Ok(receipt)
    }

    /// Why nothing could be taken back.
    async fn why_not(&self, request_id: Uuid) -> Result<ClaimError, ClaimError> {
        let status = self.get(request_id).await?.status;
        let note = reversal::notes(&self.db, &[request_id]).await?.pop();
        Ok(match (status, note) {
            (_, Some(note)) => ClaimError::AlreadyReversed {
                request_id,
                reversal_id: note.id,
                reversed_at: note.reversed_at,
            },
            // Neither is seen: the statement waited for whoever took it back.
            (Status::Granted | Status::Reversed, None) => ClaimError::Contended,
            (status, None) => ClaimError::NotGranted { id: request_id, status },
        })
    }

    /// Whose request it is, and the receipt of its reversal, if it was reversed.
    pub(super) async fn reversal(&self, request_id: Uuid) -> Result<(Uuid, Option<SignedReversal>), ClaimError> {
        let user_id = self.get(request_id).await?.user_id;
        let Some(row) = reversal::find(&self.db, request_id).await? else {
            return Ok((user_id, None));
        };
        let key = self.keys.public_key(&row.receipt_key_id);
        let sealed = Sealed {
            text: row.receipt,
            key_id: row.receipt_key_id,
            signature: row.receipt_signature,
        };
        let (receipt, digest, signature) = sealed.open(key.as_ref())?;
        let signed = SignedReversal {
            receipt,
            digest,
            signature,
        };
        Ok((user_id, Some(signed)))
    }
}
