//! Format 2: the content about the user, which can be erased, and the terms, which all claims of an event's revision share.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::{ReceiptError, require_format};
use super::evaluation::Outcome;
use super::seal::{self, SignatureRecord};
use super::terms::Terms;
use crate::canonical;
use crate::claims::model::{ClaimedBy, Reason, Status};
use crate::claims::review::Review;
use crate::clock::Timestamp;
use crate::contract::{Fact, LocalTime, Progress, ZoneOffset};
use crate::keys::PublicKey;
use crate::sandbox::Digest;

/// A claim, its decision and the reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// `meed-receipt/2`
    #[schema(example = "meed-receipt/2")]
    pub format: String,
    pub request_id: Uuid,
    pub user_id: Uuid,
    /// The service key that claimed for the user; absent if the user did
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<ClaimedBy>,
    /// The make-good that decided the claim again, by its approved proposal; absent if there was none
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub make_good_id: Option<Uuid>,
    /// SHA-256 of the terms as canonical JSON
    #[schema(value_type = String)]
    pub terms: Digest,
    pub received_at: Timestamp,
    pub decided_at: Timestamp,
    #[schema(example = "2026-03-01")]
    pub period: String,
    /// The slot in the period that this claim asked for, from 1
    pub slot: u32,
    pub status: Status,
    pub reasons: Vec<Reason>,
    pub progress: Vec<Progress>,
    /// What was given
    pub awards: Vec<GivenReward>,
    /// The run of the condition; null if the host decided without it
    pub evaluation: Option<Evaluation>,
    /// The review of a claim that the condition held; absent if there was none
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
}

/// A reward as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GivenReward {
    pub reward_id: Uuid,
    /// The reward's revision; `GET /rewards/{id}/revisions` lists them
    pub revision: i64,
    pub quantity: u32,
    pub item_id: Option<String>,
    pub duration: Option<String>,
}

/// The inputs of one run of the condition that belong to this claim, and the outcome. The terms have the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ReceiptEvaluation)]
pub struct Evaluation {
    /// The facts are true as of this instant: they count what occurred until then
    pub as_of: Timestamp,
    /// The instant at which the read of the facts began: they count what was recorded until then
    pub known_by: Timestamp,
    /// `asOf` in the event's time zone
    pub local: LocalTime,
    pub offsets: Vec<ZoneOffset>,
    /// When the user registered
    pub registered: Timestamp,
    /// The largest quantity of each reward of the terms that the claim could be awarded; 0 means sold out
    pub max_quantities: Vec<u32>,
    /// 32 bytes, in hexadecimal
    #[serde(with = "hex::serde")]
    #[schema(value_type = String)]
    pub seed: [u8; 32],
    /// `facts[i]` is the answer to `queries[i]` of the terms
    pub facts: Vec<Fact>,
    pub outcome: Outcome,
    pub fuel: u64,
    /// The amount that the event's budget had left, but at most the value of all rewards; absent if the event has no such
    /// budget
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_amount: Option<i64>,
}

/// A receipt with its terms, digest and signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedReceipt {
    /// Null if the content was erased; digest and signature still verify
    pub receipt: Option<Receipt>,
    /// Null if the content was erased
    pub terms: Option<Terms>,
    /// 16 random bytes in hexadecimal; null if the content was erased
    pub salt: Option<String>,
    /// SHA-256 of the salt's bytes and the receipt as canonical JSON (RFC 8785)
    #[schema(value_type = String)]
    pub digest: Digest,
    pub signature: SignatureRecord,
}

impl Receipt {
    pub(in crate::claims) const FORMAT: &str = "meed-receipt/2";
}

impl SignedReceipt {
    /// Checks format, terms, digest and signature. `trusted`: the operator's keys; without them, the receipt's own key is
    /// used.
    pub fn verify(&self, trusted: Option<&[PublicKey]>) -> Result<(), ReceiptError> {
        match (&self.receipt, &self.terms, &self.salt) {
            (Some(receipt), Some(terms), Some(salt)) => {
                require_format(Receipt::FORMAT, &receipt.format)?;
                require_format(Terms::FORMAT, &terms.format)?;
                seal::check_digest(receipt, salt, self.digest)?;
                let (found, is) = (receipt.terms, Digest::of(canonical::to_string(terms)?.as_bytes()));
                if is != found {
                    return Err(ReceiptError::Terms { found, is });
                }
            }
            (None, None, None) => {}
            _ => return Err(ReceiptError::Incomplete),
        }
        self.signature.check(self.digest, trusted)
    }
}
