//! The rules for plugins.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::gate::{self, GateRefusal};
use super::lifecycle::{Action, Named, PluginState, Standing};
use super::params;
use super::quarantine::Watch;
use super::quota::{Turn, Uploads};
use super::signatures::{SignatureError, VersionSignature};
use super::store::{self, NewVersion, VersionRow};
use super::usage::Unwritten;
use crate::cache::Cache as Shared;
use crate::clock::{Clock, Timestamp};
use crate::config::{Plugins, Signatures};
use crate::contract::Issue;
use crate::db::{Db, DbError, Json};
use crate::facts::{InvalidPlan, Plan};
use crate::sandbox::{Class, Digest, Failure, LoadError, Plugin, Refusal, Sandbox};

/// One immutable upload.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginVersion {
    #[schema(example = "login-streak")]
    pub name: String,
    #[schema(example = "1.0.0")]
    pub version: String,
    /// sha256 of the uploaded bytes: the identity of the version
    #[schema(value_type = String, example = "sha256:0d6f2c1b9e77a4c35c1e7a518f5e0d6f2c1b9e77a4c35c1e7a518f5e0d6f2c1b")]
    pub digest: Digest,
    pub title: String,
    pub description: String,
    /// JSON Schema 2020-12 of the params
    #[schema(value_type = Object)]
    pub params_schema: Value,
    /// The contract it implements
    #[schema(example = "meed:condition/condition@1.0.0")]
    pub abi: String,
    /// Which limits it has: RUNTIME for plugins that bring a language's runtime
    pub class: Class,
    pub size_bytes: i64,
    pub state: PluginState,
    pub signature: VersionSignature,
    /// null: bundled with the server
    pub uploaded_by: Option<Uuid>,
    pub created_at: Timestamp,
    /// How often it ran for a claim, up to a few seconds ago
    pub runs: i64,
    /// How often it gave no decision by its own fault
    pub failures: i64,
    pub last_run_at: Option<Timestamp>,
    #[serde(skip)]
    pub(super) id: Uuid,
    #[serde(skip)]
    pub(super) state_revision: i64,
}

impl PluginVersion {
    pub(super) fn named(&self) -> Named<'_> {
        Named {
            id: self.id,
            digest: self.digest,
            name: &self.name,
            version: &self.version,
        }
    }
}

impl NewVersion {
    pub(super) fn named(&self) -> Named<'_> {
        Named {
            id: self.id,
            digest: self.digest,
            name: &self.name,
            version: &self.version,
        }
    }
}

impl From<VersionRow> for PluginVersion {
    fn from(row: VersionRow) -> Self {
        Self {
            signature: VersionSignature::of(&row),
            name: row.name,
            version: row.version,
            digest: row.digest,
            title: row.title,
            description: row.description,
            params_schema: row.params_schema.0,
            abi: row.abi,
            class: row.class,
            size_bytes: row.size_bytes,
            state: row.state,
            uploaded_by: row.uploaded_by,
            created_at: row.created_at,
            runs: row.runs,
            failures: row.failures,
            last_run_at: row.last_run_at,
            id: row.id,
            state_revision: row.state_revision,
        }
    }
}

/// What became of an upload.
#[derive(Clone, Debug)]
pub enum Uploaded {
    New(PluginVersion),
    /// The same bytes were here before.
    Known(PluginVersion),
}

/// A plugin version with its params bound: the condition of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    pub digest: Digest,
    pub plan: Plan,
    pub state: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    #[error("There is no plugin {name:?}.")]
    NoSuchPlugin { name: String },
    #[error("There is no version {version:?} of the plugin {name:?}.")]
    NoSuchVersion { name: String, version: String },
    #[error("Not a condition: {0}.")]
    Refused(Refusal),
    #[error("Not a condition to rely on: {0}.")]
    Gate(GateRefusal),
    #[error("Another upload of yours is being looked at; wait for its answer.")]
    UploadBusy,
    #[error(
        "Your uploads took {limit} s of this hour; that is all one operator may take (plugins.uploads.seconds_per_hour)."
    )]
    UploadTime { limit: u64, retry_after: u32 },
    #[error(
        "You have {versions} versions with {bytes} bytes here, and this is what one operator may have \
         (plugins.uploads); delete some that nothing refers to."
    )]
    UploadRoom { versions: i64, bytes: i64 },
    #[error("{name} {version} exists already with other bytes ({digest}); a version never changes: raise the version.")]
    VersionTaken {
        name: String,
        version: String,
        digest: Digest,
    },
    #[error(
        "{name} {version} is used by an event, by an earlier revision of one or by the receipt of a reward request; \
         disable it instead."
    )]
    InUse { name: String, version: String },
    #[error("{name} {version} is {state}; make it ACTIVE or choose another version.")]
    NotActive {
        name: String,
        version: String,
        state: PluginState,
    },
    #[error("{name} {version} is not signed by a trusted key (plugins.signatures = enforce); choose one that is.")]
    NotTrusted { name: String, version: String },
    #[error("must be ACTIVE or DISABLED: only the server itself puts a version into quarantine")]
    NotByHand,
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("{0}")]
    PublicKey(String),
    #[error("There is a key {0} already; a key that was revoked stays so: make a new one.")]
    KeyTaken(String),
    #[error("There is no key {0:?}.")]
    NoSuchKey(String),
    #[error("The params do not fit the plugin.")]
    Params(Vec<Issue>),
    #[error("The plugin failed in bind: {0}.")]
    BindFailed(Failure),
    #[error(transparent)]
    Plan(#[from] InvalidPlan),
    #[error("{0}")]
    Load(#[from] LoadError),
    #[error("The stored module {0} is missing.")]
    ModuleMissing(Digest),
    #[error("The params cannot be written as canonical JSON: {0}.")]
    Canonical(#[from] serde_json::Error),
    #[error("cannot read {} (plugins.bundled_directory): {source}", directory.display())]
    Bundled { directory: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Wired by `app`; cheap to clone.
#[derive(Clone)]
pub struct PluginService {
    pub(super) db: Db,
    pub(super) clock: Clock,
    sandbox: Sandbox,
    pub(super) shared: Shared,
    pub(super) signatures: Signatures,
    /// What claims need to know of a version, read a moment ago.
    pub(super) standings: Cache<Digest, Arc<Standing>>,
    pub(super) watch: Arc<Watch>,
    uploads: Uploads,
    pub(super) unwritten: Arc<Unwritten>,
}

/// How long a claim trusts what it read of a version.
const CACHED_FOR: Duration = Duration::from_secs(2);
const CACHED_VERSIONS: u64 = 10_000;

impl PluginService {
    pub fn new(settings: &Plugins, db: Db, clock: Clock, sandbox: Sandbox, shared: Shared) -> Self {
        let standings = Cache::builder()
            .max_capacity(CACHED_VERSIONS)
            .time_to_live(CACHED_FOR)
            .build();
        Self {
            db,
            clock,
            sandbox,
            shared,
            signatures: settings.signatures,
            standings,
            uploads: Uploads::new(settings.uploads.clone()),
            watch: Arc::new(Watch::new(settings.quarantine.clone())),
            unwritten: Arc::default(),
        }
    }

    /// Takes in a plugin without a signature, or says precisely why not.
    pub async fn upload(&self, module: Vec<u8>, by: Option<Uuid>) -> Result<Uploaded, PluginError> {
        self.upload_signed(module, None, by).await
    }

    /// Takes in a plugin, or says precisely why not. `signature` is the text of a `.minisig` file. `by` is absent for
    /// plugins that come with the server, which need no signature.
    pub async fn upload_signed(
        &self,
        module: Vec<u8>,
        signature: Option<&str>,
        by: Option<Uuid>,
    ) -> Result<Uploaded, PluginError> {
        let digest = Digest::of(&module);
        let mut checked = self.check_signature(&module, signature).await?;
        if let Some(known) = store::find_by_digest(&self.db, digest).await? {
            return Ok(Uploaded::Known(self.upload_again(known.into(), checked, by).await?));
        }
        if by.is_some() && checked.is_none() {
            self.require_signature()?;
        }
        if let Some(operator) = by {
            self.require_room(operator, module.len()).await?;
        }
        let admitted = self.sandbox.admit(module.clone()).await.map_err(PluginError::Refused)?;
        gate::check(&self.sandbox, &admitted, &module).await?;
        let manifest = admitted.manifest.clone();
        checked = self.check_signed_version(checked, &manifest.name, &manifest.version)?;
        let new = NewVersion {
            digest,
            id: self.clock.new_id(),
            name: manifest.name,
            version: manifest.version,
            title: manifest.title,
            description: manifest.description,
            params_schema: Json(manifest.params_schema),
            abi: admitted.abi.to_owned(),
            class: admitted.class,
            size_bytes: i64::try_from(admitted.bytes).unwrap_or(i64::MAX),
            uploaded_by: by,
            created_at: self.clock.now(),
        };
        let mut tx = self.db.begin().await?;
        if store::insert(&mut tx, &new, module).await? {
            self.record(&mut tx, new.named(), Action::Uploaded, by, None).await?;
            if let Some(checked) = checked {
                self.attach(&mut tx, new.named(), checked, by).await?;
            }
            tx.commit().await?;
            if let Err(error) = self.sandbox.keep(&admitted).await {
                // The first claim will have to compile it.
                tracing::warn!(plugin.digest = %digest, %error, "compiled code was not kept");
            }
            tracing::info!(plugin.name = new.name, plugin.version = new.version, plugin.digest = %digest, "plugin uploaded");
            return Ok(Uploaded::New(self.by_digest(digest).await?));
        }
        drop(tx);
        // Somebody else was first: with the same bytes, or with this name and version.
        if let Some(known) = store::find_by_digest(&self.db, digest).await? {
            return Ok(Uploaded::Known(self.upload_again(known.into(), checked, by).await?));
        }
        let (name, version) = (new.name, new.version);
        match store::find(&self.db, name.clone(), version.clone()).await? {
            Some(taken) => Err(PluginError::VersionTaken {
                name,
                version,
                digest: taken.digest,
            }),
            None => Err(PluginError::NoSuchVersion { name, version }),
        }
    }

    /// The right of an operator to upload, until it is dropped.
    pub(super) fn take_turn(&self, operator: Uuid) -> Result<Turn, PluginError> {
        self.uploads.take_turn(operator, self.clock.now())
    }

    async fn require_room(&self, operator: Uuid, more: usize) -> Result<(), PluginError> {
        let (versions, bytes) = store::uploaded_by(&self.db, operator).await?;
        let quota = self.uploads.quota();
        let is_full = |found: i64, more: usize, limit: u64| {
            u64::try_from(found).unwrap_or_default().saturating_add(more as u64) > limit
        };
        if is_full(versions, 1, quota.versions) || is_full(bytes, more, quota.bytes) {
            return Err(PluginError::UploadRoom { versions, bytes });
        }
        Ok(())
    }

    /// Installs every `*.wasm` of a directory that is not there yet. One that is refused, or whose version is there
    /// with other bytes, is logged and left out: the server must start with what it has.
    pub async fn install_bundled(&self, directory: &Path) -> Result<(), PluginError> {
        let unreadable = |source| PluginError::Bundled {
            directory: directory.to_owned(),
            source,
        };
        let mut entries = tokio::fs::read_dir(directory).await.map_err(unreadable)?;
        while let Some(entry) = entries.next_entry().await.map_err(unreadable)? {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "wasm") {
                continue;
            }
            let module = tokio::fs::read(&path).await.map_err(unreadable)?;
            match self.upload(module, None).await {
                Ok(_) => {}
                Err(error @ PluginError::Db(_)) => return Err(error),
                Err(error) => tracing::warn!(path = %path.display(), %error, "bundled plugin not installed"),
            }
        }
        Ok(())
    }

    /// Newest upload first, up to `size + 1`.
    pub async fn list(
        &self,
        name: Option<String>,
        state: Option<PluginState>,
        after: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<PluginVersion>, PluginError> {
        let rows = store::list(&self.db, name, state, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(PluginVersion::from).collect())
    }

    /// All versions of a plugin, newest upload first.
    pub async fn versions(&self, name: &str) -> Result<Vec<PluginVersion>, PluginError> {
        let rows = store::versions(&self.db, name.to_owned()).await?;
        if rows.is_empty() {
            return Err(PluginError::NoSuchPlugin { name: name.to_owned() });
        }
        Ok(rows.into_iter().map(PluginVersion::from).collect())
    }

    pub async fn version(&self, name: &str, version: &str) -> Result<PluginVersion, PluginError> {
        if let Some(row) = store::find(&self.db, name.to_owned(), version.to_owned()).await? {
            return Ok(row.into());
        }
        // Which of the two is wrong is worth a look.
        self.versions(name).await?;
        Err(PluginError::NoSuchVersion {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }

    pub async fn by_digest(&self, digest: Digest) -> Result<PluginVersion, PluginError> {
        let row = store::find_by_digest(&self.db, digest).await?;
        row.map(PluginVersion::from).ok_or(PluginError::ModuleMissing(digest))
    }

    /// The bytes as they were uploaded.
    pub async fn module(&self, digest: Digest) -> Result<Vec<u8>, PluginError> {
        store::module(&self.db, digest)
            .await?
            .ok_or(PluginError::ModuleMissing(digest))
    }

    pub async fn delete(&self, name: &str, version: &str, by: Uuid) -> Result<(), PluginError> {
        let found = self.version(name, version).await?;
        let mut tx = self.db.begin().await?;
        store::delete(&mut tx, found.digest).await.map_err(|error| {
            if error.is_foreign_key_violation() {
                PluginError::InUse {
                    name: found.name.clone(),
                    version: found.version.clone(),
                }
            } else {
                error.into()
            }
        })?;
        self.record(&mut tx, found.named(), Action::Deleted, Some(by), None)
            .await?;
        tx.commit().await?;
        self.sandbox.forget(found.digest).await;
        tracing::info!(plugin.digest = %found.digest, user.id = %by, "plugin deleted");
        Ok(())
    }

    /// Binds params to a version for an event, if events may have the version.
    pub async fn bind(&self, name: &str, version: &str, params: &Value) -> Result<Bound, PluginError> {
        let found = self.version(name, version).await?;
        let (name, version, state) = (found.name.clone(), found.version.clone(), found.state);
        if state != PluginState::Active {
            return Err(PluginError::NotActive { name, version, state });
        }
        if !self.may_be_bound(&found) {
            return Err(PluginError::NotTrusted { name, version });
        }
        self.bind_version(found, params).await
    }

    /// Binds params to a version that the event has already: whether new events may have it does not matter, or an
    /// event whose plugin was stopped could not even be switched off.
    pub async fn bind_again(&self, name: &str, version: &str, params: &Value) -> Result<Bound, PluginError> {
        let found = self.version(name, version).await?;
        self.bind_version(found, params).await
    }

    /// Checks params against the plugin's schema and its `bind`, and gives the plan.
    pub(super) async fn bind_version(&self, found: PluginVersion, params: &Value) -> Result<Bound, PluginError> {
        let plugin = self.runnable(found.digest).await?;
        let planned = params::bind(&self.sandbox, &plugin, &found.params_schema, params).await;
        if let Err(PluginError::BindFailed(failure)) = &planned {
            tracing::warn!(plugin.digest = %found.digest, failure.code = failure.code(), %failure, "bind failed");
        }
        let planned = planned?;
        Ok(Bound {
            digest: found.digest,
            plan: planned.plan,
            state: planned.state,
        })
    }

    /// The plugin, ready to run: from memory on the claim path, else from its compiled code or its bytes.
    pub async fn runnable(&self, digest: Digest) -> Result<Plugin, PluginError> {
        if let Some(plugin) = self.sandbox.recall(digest).await {
            return Ok(plugin);
        }
        let module = self.module(digest).await?;
        Ok(self.sandbox.load(digest, module).await?)
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }
}
