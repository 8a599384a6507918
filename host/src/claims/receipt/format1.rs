//! Format 1: the whole content in one signed document. Servers no longer write it; old receipts stay verifiable.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::{ReceiptError, require_format};
use super::evaluation::EvaluationRecord;
use super::reversal::ReversalReceipt;
use super::seal::check_signature;
use crate::canonical;
use crate::claims::model::{Reason, Status};
use crate::claims::review::Review;
use crate::clock::Timestamp;
use crate::contract::{Award, Progress};
use crate::keys::PublicKey;
use crate::sandbox::Digest;

/// A claim, its decision and the reasons. Receipts of other formats are converted to it for a replay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    pub format: String,
    pub request_id: Uuid,
    pub event_id: Uuid,
    pub event_revision: i64,
    pub user_id: Uuid,
    pub received_at: Timestamp,
    pub decided_at: Timestamp,
    pub period: String,
    #[serde(rename = "sequence")]
    pub slot: u32,
    pub seed_commitment: String,
    pub status: Status,
    pub reasons: Vec<Reason>,
    pub progress: Vec<Progress>,
    pub awards: Vec<Award>,
    pub evaluation: Option<EvaluationRecord>,
    /// Only of format 2.
    #[serde(skip)]
    pub review: Option<Review>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedReceipt {
    pub receipt: Receipt,
    pub digest: Digest,
    pub signature: SignatureRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedReversal {
    pub receipt: ReversalReceipt,
    pub digest: Digest,
    pub signature: SignatureRecord,
}

/// Ed25519 over the document as canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignatureRecord {
    pub algorithm: String,
    pub key_id: String,
    pub public_key: String,
    pub value: String,
}

impl SignedReceipt {
    pub const FORMAT: &str = "meed-receipt/1";

    /// Checks format, digest and signature. `trusted`: the operator's keys; without them, the receipt's own key is used.
    pub fn verify(&self, trusted: Option<&[PublicKey]>) -> Result<(), ReceiptError> {
        require_format(Self::FORMAT, &self.receipt.format)?;
        let text = canonical::to_string(&self.receipt)?;
        self.signature.check(&text, self.digest, trusted)
    }
}

impl SignedReversal {
    pub const FORMAT: &str = "meed-reversal/1";

    /// As for receipts.
    pub fn verify(&self, trusted: Option<&[PublicKey]>) -> Result<(), ReceiptError> {
        require_format(Self::FORMAT, &self.receipt.format)?;
        let text = canonical::to_string(&self.receipt)?;
        self.signature.check(&text, self.digest, trusted)
    }
}

impl SignatureRecord {
    /// Checks that a canonical text has this digest and was signed by an accepted key.
    fn check(&self, text: &str, digest: Digest, trusted: Option<&[PublicKey]>) -> Result<(), ReceiptError> {
        let is = Digest::of(text.as_bytes());
        if is != digest {
            return Err(ReceiptError::Digest { found: digest, is });
        }
        check_signature(
            (&self.algorithm, &self.key_id, &self.public_key, &self.value),
            text,
            trusted,
        )
    }
}
