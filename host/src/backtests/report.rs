//! The report of a backtest, `meed-report/1`: canonical JSON with a digest, signed with the receipts' key.
//!
//! The digest is of the member `report`, which depends on the terms and the log alone: the same backtest makes the same
//! bytes. Who ran it and when is beside it. `document` has its members, `build` makes them of the counts, `csv` and `html`
//! show them. Must not know: the database, shards.

mod build;
mod csv;
mod document;
mod escape;
mod html;
mod svg;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

pub use build::{Rounds, build};
pub use csv::csv;
pub use document::{Forecast, ForecastStep, Report};
pub use html::html;

use crate::canonical;
use crate::clock::Timestamp;
use crate::keys::{Keyring, PublicKey};

pub const FORMAT: &str = "meed-report/1";

/// A report with its digest and signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = BacktestReport)]
pub struct SignedReport {
    /// `meed-report/1`
    #[schema(example = "meed-report/1")]
    pub format: String,
    /// docs/backtests.md describes its members
    #[schema(value_type = HashMap<String, Value>)]
    pub report: Report,
    pub run: Run,
    /// SHA-256 of the canonical JSON (RFC 8785) of `report`, in hexadecimal
    pub digest: String,
    /// Left out by `meed backtest` without keys
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<ReportSignature>,
}

/// Who ran the backtest, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = BacktestRun)]
pub struct Run {
    pub backtest_id: Uuid,
    /// null: the command line
    pub created_by: Option<Uuid>,
    pub created_at: Timestamp,
    pub finished_at: Timestamp,
}

/// Ed25519 (RFC 8032) over `meed-report/1`, the digest, and the SHA-256 of the canonical JSON of `run`, one per line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = BacktestSignature)]
pub struct ReportSignature {
    /// `Ed25519`
    #[schema(example = "Ed25519")]
    pub algorithm: String,
    /// A key of `/.well-known/receipt-keys.json`
    pub key_id: String,
    /// The public key in base64url. Compare it with one from the server's operator
    pub public_key: String,
    /// in Base64
    pub value: String,
}

/// Why a report is not what its server made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("it is no report: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("its format is {0:?}; this release knows {FORMAT:?}")]
    Format(String),
    #[error("its digest is {found}, but its content has the digest {is}: the report was changed")]
    Digest { found: String, is: String },
    #[error("it is not signed")]
    Unsigned,
    #[error("no accepted key made its signature; it names the key {0}")]
    Signature(String),
}

impl SignedReport {
    /// Signs a report; without keys it has only its digest.
    pub fn new(report: Report, run: Run, keys: Option<&Keyring>) -> Result<Self, serde_json::Error> {
        let digest = sha256(&canonical::to_string(&report)?);
        let signature = match keys {
            Some(keys) => {
                let key = keys.signing();
                let public_key = keys.public_key(key.id());
                Some(ReportSignature {
                    algorithm: "Ed25519".to_owned(),
                    key_id: key.id().to_owned(),
                    public_key: public_key.as_ref().map(PublicKey::to_base64url).unwrap_or_default(),
                    value: STANDARD.encode(key.sign(statement(&digest, &run)?.as_bytes())),
                })
            }
            None => None,
        };
        Ok(Self {
            format: FORMAT.to_owned(),
            report,
            run,
            digest,
            signature,
        })
    }

    /// Reads a report and verifies it. `trusted`: the receipt keys of the server's operator; without them the report's own
    /// key is used, which proves that it is intact but not who signed it.
    pub fn verify(text: &str, trusted: Option<&[PublicKey]>) -> Result<Self, ReportError> {
        let signed: Self = serde_json::from_str(text)?;
        if signed.format != FORMAT {
            return Err(ReportError::Format(signed.format));
        }
        // Of what was read, so that nothing in the file is outside the digest.
        let is = sha256(&canonical::to_string(&signed.report)?);
        if is != signed.digest {
            return Err(ReportError::Digest {
                found: signed.digest,
                is,
            });
        }
        let signature = signed.signature.as_ref().ok_or(ReportError::Unsigned)?;
        let own: Vec<PublicKey> = PublicKey::from_base64url(&signature.public_key).into_iter().collect();
        let value = STANDARD.decode(&signature.value).unwrap_or_default();
        let text = statement(&signed.digest, &signed.run)?;
        let is_signed = signature.algorithm == "Ed25519"
            && trusted
                .unwrap_or(&own)
                .iter()
                .any(|key| key.id() == signature.key_id && key.verify(text.as_bytes(), &value));
        if is_signed {
            Ok(signed)
        } else {
            Err(ReportError::Signature(signature.key_id.clone()))
        }
    }
}

/// The signed text. It names its purpose, so that it cannot be mistaken for anything else that a key signs.
fn statement(digest: &str, run: &Run) -> Result<String, serde_json::Error> {
    let run = sha256(&canonical::to_string(run)?);
    Ok(format!("{FORMAT}\n{digest}\n{run}"))
}

fn sha256(text: &str) -> String {
    hex::encode(digest(&SHA256, text.as_bytes()))
}
