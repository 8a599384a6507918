//! The proof of a decision: everything needed to run it again, in one canonical spelling, signed.
//!
//! The digest and the signature (Ed25519) are over the receipt as canonical JSON (RFC 8785), so a receipt may be
//! re-indented on its way and still verifies.

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
use crate::keys::{Keyring, PublicKey};
use crate::plugins::Signer;
use crate::sandbox::{CallLimits, Digest, Failure};

pub use reversal::{ReversalReceipt, SignedReversal, TakenBack};

pub(super) const FORMAT: &str = "meed-receipt/1";

/// What was claimed, how it was decided, and why.
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
    /// The place in the period that this claim asked for, from 1
    pub sequence: u32,
    /// SHA-256 of the secret behind the seed; the event shows the secret once it is over
    pub seed_commitment: String,
    pub status: Status,
    pub reasons: Vec<Reason>,
    pub progress: Vec<Progress>,
    pub awards: Vec<Award>,
    /// The run of the condition; null when the host answered before it came to that
    pub evaluation: Option<EvaluationRecord>,
}

/// What the condition was told and what it answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EvaluationRecord {
    pub plugin: PluginRecord,
    /// The engine and its settings, as far as they bear on the answer
    pub engine: String,
    pub limits: Limits,
    #[schema(value_type = Object)]
    pub params: Value,
    /// What `bind` answered for the params: its queries, and its state in base64
    pub queries: Vec<Query>,
    pub state: String,
    pub context: Context,
    /// `facts[i]` answers `queries[i]`
    pub facts: Vec<Fact>,
    pub outcome: Outcome,
    pub fuel: u64,
    /// What the event's budget had left of its amount, or what the awards can be worth at most if that is less; absent
    /// when the event has no such budget
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_amount: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginRecord {
    pub name: String,
    pub version: String,
    /// sha256 of the module's bytes
    #[schema(value_type = String)]
    pub digest: Digest,
    /// Who signed the module, as the server attests; absent when no key that it trusted then did
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<Signer>,
}

/// What `bind` and the run could use, as far as it bears on the answer
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
    /// Gives a sandbox these limits; what they do not say stays.
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

/// A run without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureRecord {
    #[schema(example = "out-of-fuel")]
    pub code: String,
    /// Whether a replay fails in the same way; a deadline, for one, depends on the machine
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

/// A receipt and the server's word for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedReceipt {
    pub receipt: Receipt,
    /// sha256 of the receipt as canonical JSON (RFC 8785)
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
    /// The public key in base64url. Compare it with one you got from the server's operator: a receipt cannot vouch for
    /// its own key.
    pub public_key: String,
    /// in base64
    pub value: String,
}

/// Why a receipt is not what it says.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    #[error("the receipt cannot be written as canonical JSON: {0}")]
    Canonical(#[from] serde_json::Error),
    #[error("this is not a {needed} but a {found:?}")]
    Format { needed: &'static str, found: String },
    #[error("the receipt's digest is {found}, its content has {is}")]
    Digest { found: Digest, is: Digest },
    #[error("the signature does not fit the receipt and the key {0}")]
    Signature(String),
}

impl Receipt {
    /// RFC 8785: the one spelling that is digested and signed.
    pub fn canonical(&self) -> Result<String, serde_json::Error> {
        canonical::to_string(self)
    }
}

/// A receipt's canonical text with its signature, as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub text: String,
    pub key_id: String,
    pub signature: Vec<u8>,
}

impl Sealed {
    pub(super) fn new(receipt: &impl Serialize, keys: &Keyring) -> Result<Self, ReceiptError> {
        let text = canonical::to_string(receipt)?;
        let key = keys.signing();
        let signature = key.sign(text.as_bytes());
        Ok(Self {
            text,
            key_id: key.id().to_owned(),
            signature,
        })
    }

    /// `public_key`: absent when the key was retired from this server.
    pub(super) fn open<R: DeserializeOwned>(
        self,
        public_key: Option<&PublicKey>,
    ) -> Result<(R, Digest, SignatureRecord), serde_json::Error> {
        let receipt = serde_json::from_str(&self.text)?;
        let signature = SignatureRecord {
            algorithm: "Ed25519".to_owned(),
            key_id: self.key_id,
            public_key: public_key.map(PublicKey::to_base64url).unwrap_or_default(),
            value: STANDARD.encode(self.signature),
        };
        Ok((receipt, Digest::of(self.text.as_bytes()), signature))
    }
}

impl SignedReceipt {
    /// Checks format, digest and signature. `trusted`: keys got from the operator; without them, the receipt's own.
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
    /// Whether a canonical text has this digest, and a key that counts signed it.
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
