//! The seal of format 2: a salted digest of a document, and one Ed25519 signature for all documents of a commit.
//!
//! The digest is SHA-256 over the salt and the canonical JSON (RFC 8785) of the document. The leaves of a Merkle tree
//! (RFC 6962) are the digests of all documents that are committed together, and the signature is over its root. So when the
//! content of a document and its salt are erased, the content cannot be guessed from the digest, and digest, path and
//! signature still verify.
//!
//! Must not know: what a document says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ReceiptError;
use crate::canonical;
use crate::keys::{Keyring, PublicKey};
use crate::merkle::{self, Hash, Tree};
use crate::sandbox::Digest;

/// 128 bits, beyond any search.
pub(in crate::claims) type Salt = [u8; 16];

/// A document before its commit.
#[derive(Clone, Debug)]
pub(in crate::claims) struct Draft {
    /// Canonical JSON.
    pub text: String,
    pub salt: Salt,
    pub digest: Digest,
}

impl Draft {
    pub(in crate::claims) fn new(document: &impl Serialize, salt: Salt) -> Result<Self, ReceiptError> {
        let text = canonical::to_string(document)?;
        let digest = salted(&salt, &text);
        Ok(Self { text, salt, digest })
    }
}

/// The signature of one document, as it is stored.
#[derive(Clone, Debug, Default)]
pub(in crate::claims) struct Seal {
    pub key_id: String,
    pub signature: Vec<u8>,
    /// The index of the leaf and the size of the tree, as 32-bit integers in big-endian order, and the hashes of the path.
    pub path: Vec<u8>,
}

/// Signs documents that are committed together, with the newest key. The seals have the order of the digests.
pub(in crate::claims) fn seal(keys: &Keyring, digests: &[Digest]) -> Vec<Seal> {
    let tree = Tree::new(digests.iter().map(|digest| digest.as_bytes().as_slice()));
    // A commit has some hundred documents.
    let size = u32::try_from(digests.len()).unwrap_or(u32::MAX);
    let key = keys.signing();
    let signature = key.sign(statement(size, &tree.root()).as_bytes());
    (0..size)
        .map(|index| Seal {
            key_id: key.id().to_owned(),
            signature: signature.clone(),
            path: [index.to_be_bytes(), size.to_be_bytes()]
                .into_iter()
                .flatten()
                .chain(tree.path(index as usize).into_iter().flatten())
                .collect(),
        })
        .collect()
}

/// Whether one of these keys signed the digest with this stored seal.
pub(in crate::claims) fn is_sealed(seal: &Seal, digest: Digest, keys: &[PublicKey]) -> bool {
    let root = || {
        let (index, rest) = seal.path.split_first_chunk()?;
        let (size, hashes) = rest.split_first_chunk()?;
        let (index, size) = (u32::from_be_bytes(*index), u32::from_be_bytes(*size));
        let (path, _) = hashes.as_chunks::<32>();
        let root = merkle::root_of(digest.as_bytes(), index.into(), size.into(), path)?;
        Some(statement(size, &root))
    };
    let is_by = |key: &PublicKey, text: &str| key.verify(text.as_bytes(), &seal.signature) && key.id() == seal.key_id;
    root().is_some_and(|text| keys.iter().any(|key| is_by(key, &text)))
}

/// The signed text. It names its purpose, so that it cannot be mistaken for anything else that a key signs.
fn statement(tree_size: u32, root: &Hash) -> String {
    format!("meed-receipts/2\n{tree_size}\n{}", hex::encode(root))
}

fn salted(salt: &[u8], text: &str) -> Digest {
    Digest::of(&[salt, text.as_bytes()].concat())
}

/// Ed25519 (RFC 8032) over the root of a Merkle tree (RFC 6962), one of whose leaves is the digest.
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
    /// The number of receipts that were signed together
    pub tree_size: u32,
    /// The position of this receipt among them, from 0
    pub leaf_index: u32,
    /// The hashes from this leaf's sibling to the child of the root, in hexadecimal
    pub path: Vec<String>,
}

impl SignatureRecord {
    /// A stored signature. For a key that was retired from this server there is no public key.
    pub(in crate::claims) fn read(seal: &Seal, keys: &Keyring) -> Result<Self, ReceiptError> {
        let (index, rest) = seal.path.split_first_chunk().ok_or(ReceiptError::StoredPath)?;
        let (size, hashes) = rest.split_first_chunk().ok_or(ReceiptError::StoredPath)?;
        let public_key = keys.public_key(&seal.key_id);
        Ok(Self {
            algorithm: "Ed25519".to_owned(),
            key_id: seal.key_id.clone(),
            public_key: public_key.as_ref().map(PublicKey::to_base64url).unwrap_or_default(),
            value: STANDARD.encode(&seal.signature),
            tree_size: u32::from_be_bytes(*size),
            leaf_index: u32::from_be_bytes(*index),
            path: hashes.chunks(32).map(hex::encode).collect(),
        })
    }

    /// Checks that an accepted key signed the digest. `trusted`: the operator's keys; without them, the receipt's own key is
    /// used.
    pub(super) fn check(&self, digest: Digest, trusted: Option<&[PublicKey]>) -> Result<(), ReceiptError> {
        let path: Option<Vec<Hash>> = self.path.iter().map(|text| hash(text)).collect();
        let root = path.and_then(|path| {
            let (index, size) = (u64::from(self.leaf_index), u64::from(self.tree_size));
            merkle::root_of(digest.as_bytes(), index, size, &path)
        });
        let root = root.ok_or(ReceiptError::Path)?;
        let text = statement(self.tree_size, &root);
        check_signature(
            (&self.algorithm, &self.key_id, &self.public_key, &self.value),
            &text,
            trusted,
        )
    }
}

/// Checks that an accepted key signed this text. The signature is its algorithm, the key's id, the key and the value.
pub(super) fn check_signature(
    (algorithm, key_id, public_key, value): (&str, &str, &str, &str),
    text: &str,
    trusted: Option<&[PublicKey]>,
) -> Result<(), ReceiptError> {
    let own: Vec<PublicKey> = PublicKey::from_base64url(public_key).into_iter().collect();
    let signature = STANDARD.decode(value).unwrap_or_default();
    let mut keys = trusted.unwrap_or(&own).iter();
    let is_signed =
        algorithm == "Ed25519" && keys.any(|key| key.id() == key_id && key.verify(text.as_bytes(), &signature));
    is_signed
        .then_some(())
        .ok_or_else(|| ReceiptError::Signature(key_id.to_owned()))
}

/// Checks that a document and its salt have this digest.
pub(super) fn check_digest(document: &impl Serialize, salt: &str, found: Digest) -> Result<(), ReceiptError> {
    let salt = hex::decode(salt).map_err(|_| ReceiptError::Salt)?;
    let is = salted(&salt, &canonical::to_string(document)?);
    (is == found).then_some(()).ok_or(ReceiptError::Digest { found, is })
}

fn hash(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}
