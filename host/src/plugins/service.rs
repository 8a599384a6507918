//! Rules for plugin versions: uploads, lookups, deletion, and binding of params.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::condition::BoundCondition;
use super::gate::{self, GateRefusal};
use super::lifecycle::{Action, PluginState, VersionRef, VersionStatus};
use super::params;
use super::quarantine::FailureMonitor;
use super::quota::{UploadPermit, Uploads};
use super::signatures::{SignatureError, VersionSignature};
use super::store::{self, NewVersion, VersionRow};
use super::usage::PendingUsage;
use crate::cache::Cache as Shared;
use crate::clock::{Clock, Timestamp};
use crate::config::{Plugins, Signatures};
use crate::contract::{Context, Decision, Fact, Issue, Translation};
use crate::db::{Db, DbError, Json};
use crate::facts::InvalidPlan;
use crate::sandbox::{Call, CallLimits, Class, Digest, Failure, LoadError, Plugin, Sandbox, UploadRefusal};

/// A plugin version: one immutable upload.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginVersion {
    #[schema(example = "login-streak")]
    pub name: String,
    #[schema(example = "1.0.0")]
    pub version: String,
    /// The SHA-256 digest of the uploaded bytes, which identifies the version
    #[schema(value_type = String, example = "sha256:0d6f2c1b9e77a4c35c1e7a518f5e0d6f2c1b9e77a4c35c1e7a518f5e0d6f2c1b")]
    pub digest: Digest,
    pub title: String,
    pub description: String,
    /// Names of the progress keys in the plugin's default language
    #[schema(example = json!({"days": "Days in a row"}))]
    pub labels: BTreeMap<String, String>,
    /// Title, description and labels in other languages, by BCP 47 tag
    #[schema(example = json!({"de": {"title": "Login-Serie", "description": "Tage in Folge.", "labels": {"days": "Tage"}}}))]
    pub translations: BTreeMap<String, Translation>,
    /// JSON Schema 2020-12 of the params
    #[schema(value_type = HashMap<String, Value>)]
    pub params_schema: Value,
    /// The version of the contract
    #[schema(example = "meed:condition/condition@1.0.0")]
    pub abi: String,
    /// The class of limits: RUNTIME for plugins that contain a language runtime
    pub class: Class,
    pub size_bytes: i64,
    pub state: PluginState,
    pub signature: VersionSignature,
    /// null if it is bundled with the server
    pub uploaded_by: Option<Uuid>,
    pub created_at: Timestamp,
    /// The number of runs for claims, up to a few seconds ago
    pub runs: i64,
    /// The number of failed runs of which the plugin is the cause
    pub failures: i64,
    pub last_run_at: Option<Timestamp>,
    #[serde(skip)]
    pub(super) id: Uuid,
    #[serde(skip)]
    pub(super) state_revision: i64,
}

impl PluginVersion {
    pub(super) fn named(&self) -> VersionRef<'_> {
        VersionRef {
            id: self.id,
            digest: self.digest,
            name: &self.name,
            version: &self.version,
        }
    }
}

impl NewVersion {
    pub(super) fn named(&self) -> VersionRef<'_> {
        VersionRef {
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
            labels: row.texts.0.labels,
            translations: row.texts.0.translations,
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

/// The result of an upload.
#[derive(Clone, Debug)]
pub enum Uploaded {
    New(PluginVersion),
    /// The same bytes were uploaded before.
    Existing(PluginVersion),
}

#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    #[error("There is no plugin {name:?}.")]
    NoSuchPlugin { name: String },
    #[error("There is no version {version:?} of the plugin {name:?}.")]
    NoSuchVersion { name: String, version: String },
    #[error("The upload is not a valid plugin: {0}.")]
    Refused(UploadRefusal),
    #[error("The plugin failed its self-checks: {0}.")]
    Gate(GateRefusal),
    #[error("Another upload of yours is in progress. Wait for its response.")]
    UploadBusy,
    #[error(
        "Your uploads used the {limit} s of processing time that an operator has per hour (plugins.uploads.seconds_per_hour)."
    )]
    UploadTime { limit: u64, retry_after: u32 },
    #[error(
        "You have stored {versions} versions with {bytes} bytes, and another one would exceed the quota of an operator \
         (plugins.uploads). Delete versions that are not in use."
    )]
    UploadStorage { versions: i64, bytes: i64 },
    #[error(
        "The plugin name {name:?} belongs to another principal, or to the server. Rename the plugin, or ask an ADMIN for \
         the name (PUT /plugins/{name}/owner)."
    )]
    NameTaken { name: String },
    #[error("there is no user {0}")]
    NoSuchOwner(Uuid),
    #[error(
        "{name} {version} exists with different bytes ({digest}). Versions are immutable: upload with a higher version."
    )]
    VersionTaken {
        name: String,
        version: String,
        digest: Digest,
    },
    #[error(
        "{name} {version} is in use by an event, an earlier revision of an event, or the receipt of a reward request. \
         Disable it instead."
    )]
    InUse { name: String, version: String },
    #[error("{name} {version} is {state}. Set it to ACTIVE, or choose another version.")]
    NotActive {
        name: String,
        version: String,
        state: PluginState,
    },
    #[error("{name} {version} is not signed by a trusted key (plugins.signatures = enforce). Choose a signed version.")]
    NotTrusted { name: String, version: String },
    #[error("must be ACTIVE or DISABLED; only the server can set QUARANTINED")]
    QuarantineByServerOnly,
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("{0}")]
    PublicKey(String),
    #[error("The key {0} exists already. A revoked key cannot be trusted again: create a new key.")]
    KeyTaken(String),
    #[error("There is no key {0:?}.")]
    NoSuchKey(String),
    #[error("The params are invalid for the plugin.")]
    Params(Vec<Issue>),
    #[error("The plugin's bind failed: {0}.")]
    BindFailed(Failure),
    #[error(transparent)]
    Plan(#[from] InvalidPlan),
    #[error("{0}")]
    Load(#[from] LoadError),
    #[error("The stored module {0} is missing.")]
    ModuleMissing(Digest),
    #[error("The params cannot be converted to canonical JSON: {0}.")]
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
    /// The status of versions, for claims.
    pub(super) statuses: Cache<Digest, Arc<VersionStatus>>,
    pub(super) monitor: Arc<FailureMonitor>,
    uploads: Uploads,
    pub(super) pending_usage: Arc<PendingUsage>,
}

/// How long a claim trusts a cached status.
const STATUS_LIFETIME: Duration = Duration::from_secs(2);
const CACHED_VERSIONS: u64 = 10_000;

impl PluginService {
    pub fn new(settings: &Plugins, db: Db, clock: Clock, sandbox: Sandbox, shared: Shared) -> Self {
        let statuses = Cache::builder()
            .max_capacity(CACHED_VERSIONS)
            .time_to_live(STATUS_LIFETIME)
            .build();
        Self {
            db,
            clock,
            sandbox,
            shared,
            signatures: settings.signatures,
            statuses,
            uploads: Uploads::new(settings.uploads.clone()),
            monitor: Arc::new(FailureMonitor::new(settings.quarantine.clone())),
            pending_usage: Arc::default(),
        }
    }

    /// Uploads a plugin without a signature.
    pub async fn upload(&self, module: Vec<u8>, by: Option<Uuid>) -> Result<Uploaded, PluginError> {
        self.upload_signed(module, None, by).await
    }

    /// Uploads a plugin. `signature` is the text of a `.minisig` file. `by` is `None` for plugins that are bundled with
    /// the server, which need no signature.
    pub async fn upload_signed(
        &self,
        module: Vec<u8>,
        signature: Option<&str>,
        by: Option<Uuid>,
    ) -> Result<Uploaded, PluginError> {
        let digest = Digest::of(&module);
        let mut checked = self.check_signature(&module, signature).await?;
        if let Some(known) = store::find_by_digest(&self.db, digest).await? {
            return Ok(Uploaded::Existing(self.reupload(known.into(), checked, by).await?));
        }
        if by.is_some() && checked.is_none() {
            self.require_signature()?;
        }
        if let Some(operator) = by {
            self.check_storage_quota(operator, module.len()).await?;
        }
        let admitted = self.sandbox.admit(module.clone()).await.map_err(PluginError::Refused)?;
        if let Err(taken) = self.require_name(&admitted.manifest.name, by).await {
            // A concurrent upload of the same bytes may have taken the name.
            return match store::find_by_digest(&self.db, digest).await? {
                Some(known) => Ok(Uploaded::Existing(self.reupload(known.into(), checked, by).await?)),
                None => Err(taken),
            };
        }
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
            texts: Json(manifest.texts),
            params_schema: Json(manifest.params_schema),
            abi: admitted.abi.to_owned(),
            class: admitted.class,
            size_bytes: i64::try_from(admitted.bytes).unwrap_or(i64::MAX),
            uploaded_by: by,
            created_at: self.clock.now(),
        };
        let mut tx = self.db.begin().await?;
        if store::insert(&mut tx, &new, module).await? {
            self.take_name(&mut tx, &new.name, by).await?;
            self.record(&mut tx, new.named(), Action::Uploaded, by, None).await?;
            if let Some(checked) = checked {
                self.attach(&mut tx, new.named(), checked, by).await?;
            }
            tx.commit().await?;
            if let Err(error) = self.sandbox.store(&admitted).await {
                // The first claim will compile it again.
                tracing::warn!(plugin.digest = %digest, %error, "cannot store compiled code");
            }
            tracing::info!(plugin.name = new.name, plugin.version = new.version, plugin.digest = %digest, "plugin uploaded");
            return Ok(Uploaded::New(self.by_digest(digest).await?));
        }
        drop(tx);
        // A concurrent upload was first, with the same bytes or with this name and version.
        if let Some(known) = store::find_by_digest(&self.db, digest).await? {
            return Ok(Uploaded::Existing(self.reupload(known.into(), checked, by).await?));
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

    /// Acquires the upload permit of an operator.
    pub(super) fn acquire_upload(&self, operator: Uuid) -> Result<UploadPermit, PluginError> {
        self.uploads.acquire(operator, self.clock.now())
    }

    async fn check_storage_quota(&self, operator: Uuid, more: usize) -> Result<(), PluginError> {
        let (versions, bytes) = store::uploaded_by(&self.db, operator).await?;
        let quota = self.uploads.quota();
        let exceeds = |found: i64, more: usize, limit: u64| {
            u64::try_from(found).unwrap_or_default().saturating_add(more as u64) > limit
        };
        if exceeds(versions, 1, quota.versions) || exceeds(bytes, more, quota.bytes) {
            return Err(PluginError::UploadStorage { versions, bytes });
        }
        Ok(())
    }

    /// Installs the new `*.wasm` files of a directory. A file that is refused, or whose version exists with different
    /// bytes, is logged and skipped, so that the server can start.
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
                Err(error) => tracing::warn!(path = %path.display(), %error, "cannot install bundled plugin"),
            }
        }
        Ok(())
    }

    /// Newest upload first, up to `size + 1` versions.
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
        // Fails with `NoSuchPlugin` if the name is unknown.
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

    /// The uploaded bytes.
    pub async fn module(&self, digest: Digest) -> Result<Vec<u8>, PluginError> {
        store::module(&self.db, digest)
            .await?
            .ok_or(PluginError::ModuleMissing(digest))
    }

    pub async fn delete(&self, name: &str, version: &str, by: Uuid) -> Result<(), PluginError> {
        let found = self.version(name, version).await?;
        let mut tx = self.db.begin().await?;
        // Of several concurrent deletions, one finds the version.
        if store::lock_state(&mut tx, found.digest).await?.is_none() {
            return Err(PluginError::NoSuchVersion {
                name: found.name,
                version: found.version,
            });
        }
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
        self.sandbox.remove(found.digest).await;
        tracing::info!(plugin.digest = %found.digest, principal.id = %by, "plugin deleted");
        Ok(())
    }

    /// Binds params for an event. The version must be active and meet the signature policy.
    pub async fn bind(&self, name: &str, version: &str, params: &Value) -> Result<BoundCondition, PluginError> {
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

    /// Binds params to the version that an event uses already. The state and the signature of the version do not
    /// matter, so that an operator can deactivate an event whose plugin is disabled.
    pub async fn bind_again(&self, name: &str, version: &str, params: &Value) -> Result<BoundCondition, PluginError> {
        let found = self.version(name, version).await?;
        self.bind_version(found, params).await
    }

    /// Validates params with the plugin's schema and its `bind`, and returns the plan.
    pub(super) async fn bind_version(
        &self,
        found: PluginVersion,
        params: &Value,
    ) -> Result<BoundCondition, PluginError> {
        let plugin = self.runnable(found.digest).await?;
        let bound = params::bind(&self.sandbox, &plugin, &found.params_schema, params).await;
        if let Err(PluginError::BindFailed(failure)) = &bound {
            tracing::warn!(plugin.digest = %found.digest, failure.code = failure.code(), %failure, "bind failed");
        }
        let bound = bound?;
        Ok(BoundCondition {
            plugin: found.name,
            version: found.version,
            digest: found.digest,
            params: params.clone(),
            plan: bound.plan,
            state: bound.state,
        })
    }

    /// Binds params to a module that need not be uploaded, for a backtest without a server.
    pub async fn bind_module(&self, module: Vec<u8>, params: &Value) -> Result<(Plugin, BoundCondition), PluginError> {
        let admitted = self.sandbox.admit(module).await.map_err(PluginError::Refused)?;
        let manifest = admitted.manifest;
        let bound = params::bind(&self.sandbox, &admitted.plugin, &manifest.params_schema, params).await?;
        let condition = BoundCondition {
            plugin: manifest.name,
            version: manifest.version,
            digest: admitted.digest,
            params: params.clone(),
            plan: bound.plan,
            state: bound.state,
        };
        Ok((admitted.plugin, condition))
    }

    /// Loads a plugin from memory, from its compiled code, or from its bytes.
    pub async fn runnable(&self, digest: Digest) -> Result<Plugin, PluginError> {
        if let Some(plugin) = self.sandbox.load_cached(digest).await {
            return Ok(plugin);
        }
        let module = self.module(digest).await?;
        Ok(self.sandbox.load(digest, module).await?)
    }

    /// Runs a condition and returns the outcome with the limits that applied. `facts[i]` answers the i-th query of its
    /// plan. Neither counts the run nor checks the state of the plugin; the caller does.
    pub async fn evaluate(
        &self,
        condition: &BoundCondition,
        context: &Context,
        facts: &[Fact],
    ) -> Result<(Call<Decision>, CallLimits), PluginError> {
        let plugin = self.runnable(condition.digest).await?;
        let call = self.sandbox.evaluate(&plugin, context, &condition.state, facts).await;
        Ok((call, self.sandbox.limits(&plugin).clone()))
    }

    /// The limits of one run of the plugin.
    pub fn limits(&self, plugin: &Plugin) -> &CallLimits {
        self.sandbox.limits(plugin)
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }
}
