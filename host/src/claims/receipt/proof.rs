//! A receipt of any format, as a file contains it.

use std::borrow::Cow;

use serde::Deserialize;

use super::error::ReceiptError;
use super::evaluation::EvaluationRecord;
use super::format1;
use super::format2::{Evaluation, Receipt, SignedReceipt};
use super::terms::Terms;
use crate::contract::{Award, Context, EventInfo, RewardInfo, UserInfo};
use crate::keys::PublicKey;
use crate::sandbox::Digest;

#[derive(Clone, Debug, PartialEq)]
pub enum Proof {
    Format1(Box<format1::SignedReceipt>),
    Format2(Box<SignedReceipt>),
}

impl From<SignedReceipt> for Proof {
    fn from(signed: SignedReceipt) -> Self {
        Self::Format2(Box::new(signed))
    }
}

/// The `format` of a signed document; `None` if its content was erased.
pub fn format_of(text: &[u8]) -> Result<Option<String>, ReceiptError> {
    #[derive(Deserialize)]
    struct Signed {
        receipt: Option<Document>,
    }
    #[derive(Deserialize)]
    struct Document {
        format: String,
    }
    let signed: Signed = serde_json::from_slice(text).map_err(ReceiptError::NotAReceipt)?;
    Ok(signed.receipt.map(|document| document.format))
}

impl Proof {
    /// Reads JSON.
    pub fn parse(text: &[u8]) -> Result<Self, ReceiptError> {
        let format = format_of(text)?;
        let proof = match format.as_deref() {
            Some(format1::SignedReceipt::FORMAT) => serde_json::from_slice(text).map(Self::Format1),
            None | Some(Receipt::FORMAT) => serde_json::from_slice(text).map(Self::Format2),
            Some(found) => {
                let (needed, found) = (Receipt::FORMAT, found.to_owned());
                return Err(ReceiptError::Format { needed, found });
            }
        };
        proof.map_err(ReceiptError::NotAReceipt)
    }

    /// Checks format, digest and signature. `trusted`: the operator's keys; without them, the receipt's own key is used.
    pub fn verify(&self, trusted: Option<&[PublicKey]>) -> Result<(), ReceiptError> {
        match self {
            Self::Format1(signed) => signed.verify(trusted),
            Self::Format2(signed) => signed.verify(trusted),
        }
    }

    pub fn digest(&self) -> Digest {
        match self {
            Self::Format1(signed) => signed.digest,
            Self::Format2(signed) => signed.digest,
        }
    }

    /// The id of the key that signed it.
    pub fn key_id(&self) -> &str {
        match self {
            Self::Format1(signed) => &signed.signature.key_id,
            Self::Format2(signed) => &signed.signature.key_id,
        }
    }

    /// The whole content in one document; `None` if it was erased.
    pub fn content(&self) -> Option<Cow<'_, format1::Receipt>> {
        match self {
            Self::Format1(signed) => Some(Cow::Borrowed(&signed.receipt)),
            Self::Format2(signed) => {
                let (receipt, terms) = (signed.receipt.as_ref()?, signed.terms.as_ref()?);
                Some(Cow::Owned(joined(receipt, terms)))
            }
        }
    }
}

fn joined(receipt: &Receipt, terms: &Terms) -> format1::Receipt {
    let award = |given: &super::format2::GivenReward| Award {
        reward_id: given.reward_id.to_string(),
        quantity: given.quantity,
    };
    format1::Receipt {
        format: receipt.format.clone(),
        request_id: receipt.request_id,
        event_id: terms.event_id,
        event_revision: terms.event_revision,
        user_id: receipt.user_id,
        received_at: receipt.received_at,
        decided_at: receipt.decided_at,
        period: receipt.period.clone(),
        slot: receipt.slot,
        seed_commitment: terms.seed_commitment.clone(),
        status: receipt.status,
        reasons: receipt.reasons.clone(),
        progress: receipt.progress.clone(),
        awards: receipt.awards.iter().map(award).collect(),
        evaluation: receipt.evaluation.as_ref().and_then(|run| {
            Some(EvaluationRecord {
                plugin: terms.plugin.clone(),
                engine: terms.engine.clone(),
                // The terms of a claim that ran have limits.
                limits: terms.limits?,
                params: terms.params.clone(),
                queries: terms.queries.clone(),
                state: terms.state.clone(),
                context: context(receipt, run, terms),
                facts: run.facts.clone(),
                outcome: run.outcome.clone(),
                fuel: run.fuel,
                budget_amount: run.budget_amount,
            })
        }),
        review: receipt.review.clone(),
    }
}

fn context(receipt: &Receipt, run: &Evaluation, terms: &Terms) -> Context {
    let rewards = terms.rewards.iter().zip(&run.max_quantities);
    Context {
        now: run.as_of,
        local: run.local,
        time_zone: terms.time_zone.clone(),
        offsets: run.offsets.clone(),
        event: EventInfo {
            id: terms.event_id.to_string(),
            title: terms.title.clone(),
            starts: terms.starts,
            ends: terms.ends,
        },
        user: UserInfo {
            id: receipt.user_id.to_string(),
            registered: run.registered,
        },
        rewards: rewards
            .map(|(reward, max_quantity)| RewardInfo {
                id: reward.id.to_string(),
                kind: reward.type_.clone(),
                value: reward.value,
                max_quantity: *max_quantity,
            })
            .collect(),
        seed: run.seed,
    }
}
