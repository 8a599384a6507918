//! Trusted keys, and the signatures of uploads.
//!
//! A signature is valid if a key of `plugin_keys` verifies it over the uploaded bytes and its trusted comment names the
//! plugin and version. The setting `plugins.signatures` determines what happens to uploads without a valid signature.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::lifecycle::{Action, VersionRef};
use super::service::{PluginError, PluginService, PluginVersion};
use super::signature::{Signature, VerifyingKey};
use super::store::{self, keys::KeyRow};
use crate::audit::{self, Entry};
use crate::cache::Topic;
use crate::clock::Timestamp;
use crate::config::Signatures;
use crate::db::Tx;

/// Whether a trusted key signed a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum SignatureState {
    /// No signature
    None,
    /// A valid signature by a trusted key
    Trusted,
    /// A signature by an unknown key, over other bytes, or for another plugin
    Untrusted,
    /// A valid signature by a key that was revoked since
    Revoked,
}

/// The signature of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionSignature {
    pub state: SignatureState,
    /// The id of the signing key
    #[schema(example = "E7620F1842B4E81F")]
    pub key_id: Option<String>,
    /// The name of the key; null if the key is not trusted
    #[schema(example = "Ada's release key")]
    pub signer: Option<String>,
}

/// The signer of a version, as in receipts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signer {
    #[schema(example = "E7620F1842B4E81F")]
    pub key_id: String,
    #[schema(example = "Ada's release key")]
    pub name: String,
}

impl VersionSignature {
    pub(super) fn of(row: &store::VersionRow) -> Self {
        let state = match (row.verified, row.revoked_at) {
            (None, _) => SignatureState::None,
            (Some(false), _) => SignatureState::Untrusted,
            (Some(true), None) => SignatureState::Trusted,
            (Some(true), Some(_)) => SignatureState::Revoked,
        };
        Self {
            state,
            key_id: row.key_id.clone(),
            signer: row.signer.clone(),
        }
    }

    /// The signer, while the key is trusted.
    pub(super) fn signer(&self) -> Option<Signer> {
        let (Some(key_id), Some(name)) = (self.key_id.clone(), self.signer.clone()) else {
            return None;
        };
        (self.state == SignatureState::Trusted).then_some(Signer { key_id, name })
    }
}

/// A trusted key for signatures of plugins.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginKey {
    /// The id of the key as minisign prints it, with leading zeros
    #[schema(example = "E7620F1842B4E81F")]
    pub key_id: String,
    /// The owner of the key
    #[schema(example = "Ada's release key")]
    pub name: String,
    /// In the format of `minisign -P`
    #[schema(example = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3")]
    pub public_key: String,
    pub added_by: Uuid,
    pub added_at: Timestamp,
    pub revoked_by: Option<Uuid>,
    /// Its signatures are not valid since then
    pub revoked_at: Option<Timestamp>,
    #[serde(skip)]
    pub(super) id: Uuid,
}

impl From<KeyRow> for PluginKey {
    fn from(row: KeyRow) -> Self {
        Self {
            key_id: row.key_id,
            name: row.name,
            public_key: row.public_key,
            added_by: row.added_by,
            added_at: row.added_at,
            revoked_by: row.revoked_by,
            revoked_at: row.revoked_at,
            id: row.id,
        }
    }
}

/// Why a signature is refused.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    #[error(
        "This server requires signed uploads (plugins.signatures = enforce). Sign the module with `meed plugin sign` and \
         send the .minisig file as the form field signature."
    )]
    Required,
    #[error("Invalid signature: {0}.")]
    Invalid(String),
    #[error("Untrusted signature: {0}.")]
    Untrusted(String),
}

/// The signature of an upload, after its verification.
pub(super) struct CheckedSignature {
    signature: Signature,
    /// A known key verified it. The key may have been revoked since.
    verified: bool,
}

impl PluginService {
    pub async fn trust_key(&self, name: &str, public_key: &str, by: Uuid) -> Result<PluginKey, PluginError> {
        let key = VerifyingKey::parse(public_key).map_err(PluginError::PublicKey)?;
        let row = KeyRow {
            key_id: key.key_id(),
            id: self.clock.new_id(),
            name: name.to_owned(),
            public_key: key.to_base64(),
            added_by: by,
            added_at: self.clock.now(),
            revoked_by: None,
            revoked_at: None,
        };
        let mut tx = self.db.begin().await?;
        if !store::keys::insert(&mut tx, &row, key.key()).await? {
            return Err(PluginError::KeyTaken(row.key_id));
        }
        let trusted = Entry::about("plugin-key", &row.key_id)
            .field("name", None::<String>, &row.name)
            .field("publicKey", None::<String>, &row.public_key);
        audit::record(&mut tx, &self.clock, trusted).await?;
        tx.commit().await?;
        tracing::info!(plugin_key.id = row.key_id, plugin_key.name = row.name, principal.id = %by, "plugin key trusted");
        Ok(row.into())
    }

    /// Newest first, up to `size + 1` keys.
    pub async fn keys(&self, after: Option<Uuid>, size: u32) -> Result<Vec<PluginKey>, PluginError> {
        let rows = store::keys::list(&self.db, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(PluginKey::from).collect())
    }

    pub async fn key(&self, key_id: &str) -> Result<PluginKey, PluginError> {
        // minisign omits leading zeros.
        let padded = format!("{:0>16}", key_id.to_ascii_uppercase());
        let row = store::keys::find(&self.db, padded).await?;
        row.map(PluginKey::from)
            .ok_or_else(|| PluginError::NoSuchKey(key_id.to_owned()))
    }

    /// Revokes a key. Revoking it again has no effect.
    pub async fn revoke_key(&self, key_id: &str, by: Uuid) -> Result<(), PluginError> {
        let key = self.key(key_id).await?;
        let mut tx = self.db.begin().await?;
        let now = self.clock.now();
        let revoked = store::keys::revoke(&mut tx, key.key_id.clone(), by, now).await?;
        if revoked {
            let entry = Entry::about("plugin-key", &key.key_id).field("revokedAt", None::<Timestamp>, now);
            audit::record(&mut tx, &self.clock, entry).await?;
        }
        tx.commit().await?;
        if revoked {
            // Receipts name a signer only while the key is trusted.
            self.statuses.invalidate_all();
            self.shared.publish(Topic::Plugins).await;
            tracing::warn!(plugin_key.id = key.key_id, plugin_key.name = key.name, principal.id = %by, "plugin key revoked");
        }
        Ok(())
    }

    /// Verifies the signature of an upload, before any other check. `None` if there is no signature.
    pub(super) async fn check_signature(
        &self,
        module: &[u8],
        text: Option<&str>,
    ) -> Result<Option<CheckedSignature>, PluginError> {
        let Some(text) = text else { return Ok(None) };
        // A malformed signature is refused even if signatures are not required.
        let signature = Signature::parse(text).map_err(SignatureError::Invalid)?;
        let key_id = signature.key_id();
        let verified = match store::keys::find(&self.db, key_id.clone()).await? {
            None => {
                let message = format!("the key {key_id} is not trusted; an ADMIN can add it with POST /plugin-keys");
                self.apply_policy(SignatureError::Untrusted(message))?;
                false
            }
            Some(row) => {
                let key = VerifyingKey::parse(&row.public_key).map_err(PluginError::PublicKey)?;
                let failure = signature.verify(&key, module).err();
                if let Some(at) = row.revoked_at {
                    let message = format!("the key {key_id} ({}) was revoked at {at}", row.name);
                    self.apply_policy(SignatureError::Untrusted(message))?;
                }
                match failure {
                    Some(failure) => {
                        let message = format!("{failure} with the key {key_id} ({})", row.name);
                        self.apply_policy(SignatureError::Invalid(message))?;
                        false
                    }
                    None => true,
                }
            }
        };
        Ok(Some(CheckedSignature { signature, verified }))
    }

    /// Applies the policy to a new upload without a signature.
    pub(super) fn require_signature(&self) -> Result<(), SignatureError> {
        self.apply_policy(SignatureError::Required)
    }

    /// Checks that the signature names the module's own name and version.
    pub(super) fn check_signed_version(
        &self,
        checked: Option<CheckedSignature>,
        name: &str,
        version: &str,
    ) -> Result<Option<CheckedSignature>, PluginError> {
        let Some(mut checked) = checked else { return Ok(None) };
        if !checked.verified {
            return Ok(Some(checked));
        }
        if let Err(message) = checked.signature.check_version(name, version) {
            self.apply_policy(SignatureError::Invalid(message))?;
            checked.verified = false;
        }
        Ok(Some(checked))
    }

    /// Returns the error, logs it, or ignores it, according to `plugins.signatures`.
    fn apply_policy(&self, error: SignatureError) -> Result<(), SignatureError> {
        match self.signatures {
            Signatures::Enforce => return Err(error),
            Signatures::Warn => tracing::warn!(%error, "upload without a valid signature"),
            Signatures::Off => {}
        }
        Ok(())
    }

    /// Handles an upload of known bytes. Stores its signature if it is better than the current one.
    pub(super) async fn reupload(
        &self,
        known: PluginVersion,
        checked: Option<CheckedSignature>,
        by: Option<Uuid>,
    ) -> Result<PluginVersion, PluginError> {
        let Some(checked) = self.check_signed_version(checked, &known.name, &known.version)? else {
            if by.is_none() || self.may_be_bound(&known) {
                return Ok(known);
            }
            return Err(SignatureError::Required.into());
        };
        let digest = known.digest;
        let mut tx = self.db.begin().await?;
        if !self.attach(&mut tx, known.named(), checked, by).await? {
            return Ok(known);
        }
        tx.commit().await?;
        self.changed(digest).await;
        self.by_digest(digest).await
    }

    /// Stores a signature with its version and adds it to the history. `false` if the version has one that is at least
    /// as good.
    pub(super) async fn attach(
        &self,
        tx: &mut Tx,
        version: VersionRef<'_>,
        checked: CheckedSignature,
        by: Option<Uuid>,
    ) -> Result<bool, PluginError> {
        let digest = version.digest;
        store::lock_state(tx, digest).await?;
        let (key_id, verified) = (checked.signature.key_id(), checked.verified);
        let text = checked.signature.text().to_owned();
        if !store::signatures::attach(tx, digest, key_id.clone(), verified, text).await? {
            return Ok(false);
        }
        let validity = if verified { "valid" } else { "not valid" };
        let detail = format!("with the key {key_id}; {validity}");
        self.record(tx, version, Action::Signed, by, Some(detail)).await?;
        Ok(true)
    }

    /// Whether the signature policy allows binding events to the version.
    pub(super) fn may_be_bound(&self, version: &PluginVersion) -> bool {
        self.signatures != Signatures::Enforce
            || version.uploaded_by.is_none()
            || version.signature.state == SignatureState::Trusted
    }
}
