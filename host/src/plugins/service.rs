//! The rules for plugins.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use moka::future::Cache;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::params;
use super::store::{self, VersionRow};
use crate::clock::{Clock, Instant};
use crate::contract::Issue;
use crate::db::{Db, DbError, Json, text_column};
use crate::facts::{InvalidPlan, Plan};
use crate::sandbox::{Class, Digest, Failure, LoadError, Plugin, Refusal, Sandbox};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PluginState {
    Active,
    /// Claims on its events fail, and may be repeated once it is active again.
    Disabled,
}

text_column!(PluginState);

impl fmt::Display for PluginState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "ACTIVE",
            Self::Disabled => "DISABLED",
        })
    }
}

impl FromStr for PluginState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ACTIVE" => Ok(Self::Active),
            "DISABLED" => Ok(Self::Disabled),
            _ => Err(format!("{text:?} is not a plugin state")),
        }
    }
}

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
    /// null: bundled with the server
    pub uploaded_by: Option<Uuid>,
    pub created_at: Instant,
    #[serde(skip)]
    pub(super) id: Uuid,
}

impl From<VersionRow> for PluginVersion {
    fn from(row: VersionRow) -> Self {
        Self {
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
            id: row.id,
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
    #[error("{name} {version} exists already with other bytes ({digest}); a version never changes: raise the version.")]
    VersionTaken {
        name: String,
        version: String,
        digest: Digest,
    },
    #[error("{name} {version} is used by an event or by the receipt of a reward request; disable it instead.")]
    InUse { name: String, version: String },
    #[error("{name} {version} is disabled; enable it or choose another version.")]
    Disabled { name: String, version: String },
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

#[derive(Clone)]
pub struct PluginService {
    db: Db,
    clock: Clock,
    sandbox: Sandbox,
    /// Whether claims may run a version, read a moment ago.
    states: Cache<Digest, PluginState>,
}

/// How long a claim trusts the state of a version that it read.
const STATE_CACHED_FOR: Duration = Duration::from_secs(2);
const CACHED_STATES: u64 = 10_000;

impl PluginService {
    pub fn new(db: Db, clock: Clock, sandbox: Sandbox) -> Self {
        let states = Cache::builder()
            .max_capacity(CACHED_STATES)
            .time_to_live(STATE_CACHED_FOR)
            .build();
        Self {
            db,
            clock,
            sandbox,
            states,
        }
    }

    /// Takes in a plugin, or says precisely why not. `by` is absent for plugins that come with the server.
    pub async fn upload(&self, module: Vec<u8>, by: Option<Uuid>) -> Result<Uploaded, PluginError> {
        let digest = Digest::of(&module);
        if let Some(known) = store::find_by_digest(&self.db, digest).await? {
            return Ok(Uploaded::Known(known.into()));
        }
        let admitted = self.sandbox.admit(module.clone()).await.map_err(PluginError::Refused)?;
        let manifest = admitted.manifest;
        let row = VersionRow {
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
            state: PluginState::Active,
            uploaded_by: by,
            created_at: self.clock.now(),
        };
        let mut tx = self.db.begin().await?;
        if store::insert(&mut tx, &row, module).await? {
            tx.commit().await?;
            tracing::info!(plugin.name = row.name, plugin.version = row.version, plugin.digest = %digest, "plugin uploaded");
            return Ok(Uploaded::New(row.into()));
        }
        drop(tx);
        // Somebody else was first: with the same bytes, or with this name and version.
        if let Some(known) = store::find_by_digest(&self.db, digest).await? {
            return Ok(Uploaded::Known(known.into()));
        }
        let (name, version) = (row.name, row.version);
        match store::find(&self.db, name.clone(), version.clone()).await? {
            Some(taken) => Err(PluginError::VersionTaken {
                name,
                version,
                digest: taken.digest,
            }),
            None => Err(PluginError::NoSuchVersion { name, version }),
        }
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

    pub async fn set_state(&self, name: &str, version: &str, state: PluginState) -> Result<PluginVersion, PluginError> {
        let found = self.version(name, version).await?;
        let mut tx = self.db.begin().await?;
        store::set_state(&mut tx, found.digest, state).await?;
        tx.commit().await?;
        self.states.insert(found.digest, state).await;
        tracing::info!(plugin.digest = %found.digest, %state, "plugin state set");
        Ok(PluginVersion { state, ..found })
    }

    pub async fn delete(&self, name: &str, version: &str) -> Result<(), PluginError> {
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
        tx.commit().await?;
        tracing::info!(plugin.digest = %found.digest, "plugin deleted");
        Ok(())
    }

    /// Checks params against the plugin's schema and its `bind`, and keeps the plan.
    pub async fn bind(&self, name: &str, version: &str, params: &Value) -> Result<Bound, PluginError> {
        let found = self.version(name, version).await?;
        if found.state == PluginState::Disabled {
            return Err(PluginError::Disabled {
                name: found.name,
                version: found.version,
            });
        }
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

    /// Whether claims may run this version. Another process's change is seen within two seconds.
    pub async fn is_active(&self, digest: Digest) -> Result<bool, PluginError> {
        if let Some(state) = self.states.get(&digest).await {
            return Ok(state == PluginState::Active);
        }
        let state = self.by_digest(digest).await?.state;
        self.states.insert(digest, state).await;
        Ok(state == PluginState::Active)
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
