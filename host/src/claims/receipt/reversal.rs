//! The proof that a grant was taken back: what, from whom, by whom and why. There is nothing to run again.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ReceiptError, SignatureRecord, require_format};
use crate::canonical;
use crate::clock::Timestamp;
use crate::keys::PublicKey;
use crate::sandbox::Digest;

/// What was taken back, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReversalReceipt {
    /// `meed-reversal/1`
    #[schema(example = "meed-reversal/1")]
    pub format: String,
    pub id: Uuid,
    pub request_id: Uuid,
    pub event_id: Uuid,
    /// Whose grant it was
    pub user_id: Uuid,
    /// The `digest` of the receipt of the request that was granted
    #[schema(value_type = String)]
    pub request_digest: Digest,
    #[schema(example = "Bought and returned")]
    pub reason: String,
    pub reversed_by: Uuid,
    pub reversed_at: Timestamp,
    /// All that the request granted
    pub grants: Vec<TakenBack>,
}

/// One grant that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TakenBack {
    pub id: Uuid,
    pub reward_id: Uuid,
    pub quantity: u32,
}

/// A reversal's receipt and the server's word for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedReversal {
    pub receipt: ReversalReceipt,
    /// sha256 of the receipt as canonical JSON (RFC 8785)
    #[schema(value_type = String)]
    pub digest: Digest,
    pub signature: SignatureRecord,
}

impl ReversalReceipt {
    pub const FORMAT: &str = "meed-reversal/1";
}

impl SignedReversal {
    /// Checks format, digest and signature. `trusted`: keys got from the operator; without them, the receipt's own.
    pub fn verify(&self, trusted: Option<&[PublicKey]>) -> Result<(), ReceiptError> {
        require_format(ReversalReceipt::FORMAT, &self.receipt.format)?;
        let text = canonical::to_string(&self.receipt)?;
        self.signature.check(&text, self.digest, trusted)
    }
}
