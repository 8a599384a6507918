//! Who may sign plugins, and what a signature does to an upload.
//!
//! A signature counts when a key of `plugin_keys` confirms it over the very bytes and its trusted comment names the
//! very plugin and version. `plugins.signatures` says what happens to uploads without one that counts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::lifecycle::{Action, Named};
use super::service::{PluginError, PluginService, PluginVersion};
use super::signature::{Signature, VerifyingKey};
use super::store::{self, keys::KeyRow};
use crate::cache::Topic;
use crate::clock::Timestamp;
use crate::config::Signatures;
use crate::db::Tx;

/// Whether somebody whom an ADMIN trusts signed a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum SignatureState {
    /// It came without a signature
    None,
    /// By a trusted key
    Trusted,
    /// By a key that was not trusted then, over other bytes, or for another plugin
    Untrusted,
    /// By a key that was trusted then and is not any more
    Revoked,
}

/// How a version is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionSignature {
    pub state: SignatureState,
    /// The key that the signature names
    #[schema(example = "E7620F1842B4E81F")]
    pub key_id: Option<String>,
    /// Whose key it is; null when it was not trusted
    #[schema(example = "Ada's release key")]
    pub signer: Option<String>,
}

/// Who signed a version, as a receipt names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

    /// Who signed, as long as the key is trusted.
    pub(super) fn signer(&self) -> Option<Signer> {
        let (Some(key_id), Some(name)) = (self.key_id.clone(), self.signer.clone()) else {
            return None;
        };
        (self.state == SignatureState::Trusted).then_some(Signer { key_id, name })
    }
}

/// A key whose signatures on plugins count.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginKey {
    /// The key's own id, as minisign prints it, with leading zeros
    #[schema(example = "E7620F1842B4E81F")]
    pub key_id: String,
    /// Whose key it is
    #[schema(example = "Ada's release key")]
    pub name: String,
    /// As `minisign -P` takes it
    #[schema(example = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3")]
    pub public_key: String,
    pub added_by: Uuid,
    pub added_at: Timestamp,
    pub revoked_by: Option<Uuid>,
    /// From then on its signatures do not count
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

/// Why an upload's signature does not do.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    #[error(
        "Uploads must be signed here (plugins.signatures = enforce): sign the module with `meed plugin sign` and send \
         the .minisig file as the form field signature."
    )]
    Required,
    #[error("The signature does not do: {0}.")]
    Invalid(String),
    #[error("The signature does not do: {0}.")]
    Untrusted(String),
}

/// A signature that came with an upload, compared with the trusted keys.
pub(super) struct Checked {
    signature: Signature,
    /// Whether a key of ours confirmed it, trusted or revoked since.
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
        if !store::keys::insert(&mut tx, &row).await? {
            return Err(PluginError::KeyTaken(row.key_id));
        }
        tx.commit().await?;
        tracing::info!(plugin_key.id = row.key_id, plugin_key.name = row.name, user.id = %by, "plugin key trusted");
        Ok(row.into())
    }

    /// Newest first, up to `size + 1`.
    pub async fn keys(&self, after: Option<Uuid>, size: u32) -> Result<Vec<PluginKey>, PluginError> {
        let rows = store::keys::list(&self.db, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(PluginKey::from).collect())
    }

    pub async fn key(&self, key_id: &str) -> Result<PluginKey, PluginError> {
        // minisign leaves the zeros out.
        let padded = format!("{:0>16}", key_id.to_ascii_uppercase());
        let row = store::keys::find(&self.db, padded).await?;
        row.map(PluginKey::from)
            .ok_or_else(|| PluginError::NoSuchKey(key_id.to_owned()))
    }

    /// From now on the key's signatures do not count. Again changes nothing.
    pub async fn revoke_key(&self, key_id: &str, by: Uuid) -> Result<(), PluginError> {
        let key = self.key(key_id).await?;
        let mut tx = self.db.begin().await?;
        let revoked = store::keys::revoke(&mut tx, key.key_id.clone(), by, self.clock.now()).await?;
        tx.commit().await?;
        if revoked {
            // Receipts name a signer only while the key is trusted.
            self.standings.invalidate_all();
            self.shared.publish(Topic::Plugins).await;
            tracing::warn!(plugin_key.id = key.key_id, plugin_key.name = key.name, user.id = %by, "plugin key revoked");
        }
        Ok(())
    }

    /// Looks at the signature of an upload before anything else does. `None` when there is none and none is needed.
    pub(super) async fn check_signature(
        &self,
        module: &[u8],
        text: Option<&str>,
    ) -> Result<Option<Checked>, PluginError> {
        let Some(text) = text else { return Ok(None) };
        // This is no signature at all, so even a server that asks for none says so.
        let signature = Signature::parse(text).map_err(SignatureError::Invalid)?;
        let key_id = signature.key_id();
        let verified = match store::keys::find(&self.db, key_id.clone()).await? {
            None => {
                let fault = format!("the key {key_id} is not trusted here; an ADMIN can add it with POST /plugin-keys");
                self.object(SignatureError::Untrusted(fault))?;
                false
            }
            Some(row) => {
                let key = VerifyingKey::parse(&row.public_key).map_err(PluginError::PublicKey)?;
                let fault = signature.verify(&key, module).err();
                if let Some(at) = row.revoked_at {
                    let fault = format!("the key {key_id} ({}) was revoked at {at}", row.name);
                    self.object(SignatureError::Untrusted(fault))?;
                }
                match fault {
                    Some(fault) => {
                        let fault = format!("{fault} with the key {key_id} ({})", row.name);
                        self.object(SignatureError::Invalid(fault))?;
                        false
                    }
                    None => true,
                }
            }
        };
        Ok(Some(Checked { signature, verified }))
    }

    /// What a new upload without a signature meets.
    pub(super) fn require_signature(&self) -> Result<(), SignatureError> {
        self.object(SignatureError::Required)
    }

    /// Whether the signature is for the version that the module turned out to be.
    pub(super) fn check_signed_version(
        &self,
        checked: Option<Checked>,
        name: &str,
        version: &str,
    ) -> Result<Option<Checked>, PluginError> {
        let Some(mut checked) = checked else { return Ok(None) };
        if !checked.verified {
            return Ok(Some(checked));
        }
        if let Err(fault) = checked.signature.names(name, version) {
            self.object(SignatureError::Invalid(fault))?;
            checked.verified = false;
        }
        Ok(Some(checked))
    }

    /// Refuses, only warns, or does nothing, as `plugins.signatures` says.
    fn object(&self, error: SignatureError) -> Result<(), SignatureError> {
        match self.signatures {
            Signatures::Enforce => return Err(error),
            Signatures::Warn => tracing::warn!(%error, "upload without a signature that counts"),
            Signatures::Off => {}
        }
        Ok(())
    }

    /// The same bytes again: their signature is kept when it is better than the one that is there.
    pub(super) async fn upload_again(
        &self,
        known: PluginVersion,
        checked: Option<Checked>,
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

    /// Keeps a signature with its version and tells the history. `false` when the version has one that is as good.
    pub(super) async fn attach(
        &self,
        tx: &mut Tx,
        version: Named<'_>,
        checked: Checked,
        by: Option<Uuid>,
    ) -> Result<bool, PluginError> {
        let digest = version.digest;
        store::lock_state(tx, digest).await?;
        let (key_id, verified) = (checked.signature.key_id(), checked.verified);
        let text = checked.signature.text().to_owned();
        if !store::signatures::attach(tx, digest, key_id.clone(), verified, text).await? {
            return Ok(false);
        }
        let counts = if verified { "it counts" } else { "it does not count" };
        let detail = format!("with the key {key_id}; {counts}");
        self.record(tx, version, Action::Signed, by, Some(detail)).await?;
        Ok(true)
    }

    /// Whether events may be bound to a version, as far as its signature goes.
    pub(super) fn may_be_bound(&self, version: &PluginVersion) -> bool {
        self.signatures != Signatures::Enforce
            || version.uploaded_by.is_none()
            || version.signature.state == SignatureState::Trusted
    }
}
