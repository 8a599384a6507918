//! Receipts of reversals: which grants were taken back, from whom, by whom and why. There is nothing to run again.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::{ReceiptError, require_format};
use super::seal::{self, SignatureRecord};
use crate::clock::Timestamp;
use crate::keys::PublicKey;
use crate::sandbox::Digest;

/// A reversal and its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReversalReceipt {
    /// `meed-reversal/2`
    #[schema(example = "meed-reversal/2")]
    pub format: String,
    pub id: Uuid,
    pub request_id: Uuid,
    pub event_id: Uuid,
    /// The user who had the grants
    pub user_id: Uuid,
    /// The `digest` of the receipt of the granted request
    #[schema(value_type = String)]
    pub request_digest: Digest,
    #[schema(example = "Bought and returned")]
    pub reason: String,
    pub reversed_by: Uuid,
    /// The make-good that reversed it, by its approved proposal; absent if there was none
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub make_good_id: Option<Uuid>,
    pub reversed_at: Timestamp,
    /// All grants of the request
    pub grants: Vec<ReversedGrant>,
}

/// A reversed grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReversedGrant {
    pub id: Uuid,
    pub reward_id: Uuid,
    pub quantity: u32,
}

/// The receipt of a reversal with its digest and signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedReversal {
    /// Null if the content was erased; digest and signature still verify
    pub receipt: Option<ReversalReceipt>,
    /// 16 random bytes in hexadecimal; null if the content was erased
    pub salt: Option<String>,
    /// SHA-256 of the salt's bytes and the receipt as canonical JSON (RFC 8785)
    #[schema(value_type = String)]
    pub digest: Digest,
    pub signature: SignatureRecord,
}

impl ReversalReceipt {
    pub const FORMAT: &str = "meed-reversal/2";
}

impl SignedReversal {
    /// Checks format, digest and signature. `trusted`: the operator's keys; without them, the receipt's own key is used.
    pub fn verify(&self, trusted: Option<&[PublicKey]>) -> Result<(), ReceiptError> {
        match (&self.receipt, &self.salt) {
            (Some(receipt), Some(salt)) => {
                require_format(ReversalReceipt::FORMAT, &receipt.format)?;
                seal::check_digest(receipt, salt, self.digest)?;
            }
            (None, None) => {}
            _ => return Err(ReceiptError::Incomplete),
        }
        self.signature.check(self.digest, trusted)
    }
}
