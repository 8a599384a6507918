//! Receipts: everything that is needed to run a decision again, in canonical form and signed.
//!
//! The digest and the signature (Ed25519) are over the receipt as canonical JSON (RFC 8785), so a receipt may be
//! reformatted and still verifies.

mod reversal;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::model::{Reason, Status};
use crate::canonical;
use crate::clock::Timestamp;
use crate::contract::{Award, Context, Decision, Fact, Progress, Query};
use crate::keys::{Keyring, PublicKey, Signed};
use crate::plugins::Signer;
use crate::sandbox::{CallLimits, Digest, Failure};

pub use reversal::{ReversalReceipt, ReversedGrant, SignedReversal};

pub(super) const FORMAT: &str = "meed-receipt/1";

/// A claim, its decision and the reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// `meed-receipt/1`
    #[schema(example = "meed-receipt/1")]
    pub format: String,
    pub request_id: Uuid,
    pub event_id: Uuid,
    pub event_revision: i64,
    pub user_id: Uuid,
    pub received_at: Timestamp,
    pub decided_at: Timestamp,
    #[schema(example = "2026-03-01")]
    pub period: String,
    /// The slot in the period that this claim asked for, from 1
    pub sequence: u32,
    /// SHA-256 of the secret behind the seed; the event reveals the secret after its end
    pub seed_commitment: String,
    pub status: Status,
    pub reasons: Vec<Reason>,
    pub progress: Vec<Progress>,
    pub awards: Vec<Award>,
    /// The run of the condition; null if the host decided without it
    pub evaluation: Option<EvaluationRecord>,
}

/// The inputs and the outcome of one run of the condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EvaluationRecord {
    pub plugin: PluginRecord,
    /// The engine and those of its settings that can affect the outcome
    pub engine: String,
    pub limits: Limits,
    #[schema(value_type = Object)]
    pub params: Value,
    /// The result of `bind` for the params: its queries, and its state in base64
    pub queries: Vec<Query>,
    pub state: String,
    pub context: Context,
    /// `facts[i]` is the answer to `queries[i]`
    pub facts: Vec<Fact>,
    pub outcome: Outcome,
    pub fuel: u64,
    /// The amount that the event's budget had left, but at most the value of all rewards; absent if the event has no such
    /// budget
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_amount: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginRecord {
    pub name: String,
    pub version: String,
    /// SHA-256 of the module's bytes
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The signer of the module, as the server attests; absent if no key that it trusted had signed it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<Signer>,
}

/// The limits of `bind` and the run that can affect the outcome
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    pub evaluate_fuel: u64,
    pub setup_fuel: u64,
    pub memory_bytes: usize,
    pub table_elements: usize,
    pub input_bytes: usize,
    pub state_bytes: usize,
    pub decision_bytes: usize,
}

impl From<&CallLimits> for Limits {
    fn from(call: &CallLimits) -> Self {
        Self {
            evaluate_fuel: call.evaluate_fuel,
            setup_fuel: call.setup_fuel,
            memory_bytes: call.memory_bytes,
            table_elements: call.table_elements,
            input_bytes: call.input_bytes,
            state_bytes: call.state_bytes,
            decision_bytes: call.decision_bytes,
        }
    }
}

impl Limits {
    /// Sets these limits of a sandbox and leaves the others.
    pub fn set(&self, call: &mut CallLimits) {
        call.evaluate_fuel = self.evaluate_fuel;
        call.setup_fuel = self.setup_fuel;
        call.memory_bytes = self.memory_bytes;
        call.table_elements = self.table_elements;
        call.input_bytes = self.input_bytes;
        call.state_bytes = self.state_bytes;
        call.decision_bytes = self.decision_bytes;
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    Decision(Decision),
    Failure(FailureRecord),
}

/// A run without a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureRecord {
    #[schema(example = "out-of-fuel")]
    pub code: String,
    /// Whether a replay fails in the same way; a deadline, for example, depends on the machine
    pub deterministic: bool,
}

impl From<&Failure> for FailureRecord {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code().to_owned(),
            deterministic: failure.is_deterministic(),
        }
    }
}

/// A receipt with its digest and signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedReceipt {
    pub receipt: Receipt,
    /// SHA-256 of the receipt as canonical JSON (RFC 8785)
    #[schema(value_type = String)]
    pub digest: Digest,
    pub signature: SignatureRecord,
}

/// Ed25519 (RFC 8032) over the receipt as canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignatureRecord {
    /// `Ed25519`
    #[schema(example = "Ed25519")]
    pub algorithm: String,
    /// A key of `/.well-known/receipt-keys.json`
    pub key_id: String,
    /// The public key in base64url. Compare it with one from the server's operator: a receipt cannot prove its own key.
    pub public_key: String,
    /// in Base64
    pub value: String,
}

/// Why a receipt is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    #[error("the receipt cannot be written as canonical JSON: {0}")]
    Canonical(#[from] serde_json::Error),
    #[error("the format is {found:?}, not {needed}")]
    Format { needed: &'static str, found: String },
    #[error("the receipt says its digest is {found}, but its content has the digest {is}")]
    Digest { found: Digest, is: Digest },
    #[error("the signature by the key {0} is invalid")]
    Signature(String),
}

impl Receipt {
    /// The canonical JSON (RFC 8785), which is digested and signed.
    pub fn canonical(&self) -> Result<String, serde_json::Error> {
        canonical::to_string(self)
    }
}

/// A stored document with its digest and signature. For a key that was retired from this server there is no public key.
pub(super) fn open<R: DeserializeOwned>(
    signed: Signed,
    keys: &Keyring,
) -> Result<(R, Digest, SignatureRecord), serde_json::Error> {
    let public_key = keys.public_key(&signed.key_id);
    let signature = SignatureRecord {
        algorithm: "Ed25519".to_owned(),
        key_id: signed.key_id,
        public_key: public_key.as_ref().map(PublicKey::to_base64url).unwrap_or_default(),
        value: STANDARD.encode(signed.signature),
    };
    let document = serde_json::from_str(&signed.text)?;
    Ok((document, Digest::of(signed.text.as_bytes()), signature))
}

impl SignedReceipt {
    /// The receipt as it is stored.
    pub(super) fn read(signed: Signed, keys: &Keyring) -> Result<Self, ReceiptError> {
        let (receipt, digest, signature) = open(signed, keys)?;
        Ok(Self {
            receipt,
            digest,
            signature,
        })
    }

    /// Checks format, digest and signature. `trusted`: the operator's keys; without them, the receipt's own key is used.
    pub fn verify(&self, trusted: Option<&[PublicKey]>) -> Result<(), ReceiptError> {
        require_format(FORMAT, &self.receipt.format)?;
        self.signature.check(&self.receipt.canonical()?, self.digest, trusted)
    }
}

fn require_format(needed: &'static str, found: &str) -> Result<(), ReceiptError> {
    if found == needed {
        return Ok(());
    }
    let found = found.to_owned();
    Err(ReceiptError::Format { needed, found })
}

impl SignatureRecord {
    /// Checks that a canonical text has this digest and was signed by an accepted key.
    fn check(&self, text: &str, digest: Digest, trusted: Option<&[PublicKey]>) -> Result<(), ReceiptError> {
        let is = Digest::of(text.as_bytes());
        if is != digest {
            return Err(ReceiptError::Digest { found: digest, is });
        }
        let own;
        let keys = if let Some(trusted) = trusted {
            trusted
        } else {
            own = PublicKey::from_base64url(&self.public_key)
                .into_iter()
                .collect::<Vec<_>>();
            &own
        };
        let signature = STANDARD.decode(&self.value).unwrap_or_default();
        let signed = self.algorithm == "Ed25519"
            && keys
                .iter()
                .any(|key| key.id() == self.key_id && key.verify(text.as_bytes(), &signature));
        if signed {
            Ok(())
        } else {
            Err(ReceiptError::Signature(self.key_id.clone()))
        }
    }
}
