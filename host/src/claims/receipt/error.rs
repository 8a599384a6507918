//! Why a receipt is invalid.

use crate::sandbox::Digest;

#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    #[error("the receipt cannot be written as canonical JSON: {0}")]
    Canonical(#[from] serde_json::Error),
    #[error("this is not a signed receipt: {0}")]
    NotAReceipt(serde_json::Error),
    #[error("the format is {found:?}, not {needed}")]
    Format { needed: &'static str, found: String },
    #[error("the receipt says its digest is {found}, but its content has the digest {is}")]
    Digest { found: Digest, is: Digest },
    #[error("the receipt refers to the terms {found}, but these terms have the digest {is}")]
    Terms { found: Digest, is: Digest },
    #[error("the receipt has content without its salt or its terms; save it again from the server")]
    Incomplete,
    #[error("the receipt's salt is not hexadecimal")]
    Salt,
    #[error("the path of the signature does not lead from the digest to a root")]
    Path,
    #[error("the stored path of the signature is too short")]
    StoredPath,
    #[error("the signature by the key {0} is invalid")]
    Signature(String),
}

/// Checks the member `format`.
pub(super) fn require_format(needed: &'static str, found: &str) -> Result<(), ReceiptError> {
    if found == needed {
        return Ok(());
    }
    let found = found.to_owned();
    Err(ReceiptError::Format { needed, found })
}
