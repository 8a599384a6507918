//! Inspects, compiles and runs uploaded plugins, isolated from everything else.
//!
//! A plugin receives only its input and returns only an answer of the contract. It has no clock, no randomness, no
//! network and no files. Every call runs in a fresh instance and ends at the first exceeded limit. Every behaviour of a
//! plugin results in a value ([`Call`], [`UploadRefusal`]), never in a panic. Only this module uses wasmtime. It must
//! not know the database, HTTP, or any feature: its interface is [`crate::contract`].
//!
//! `structure` checks an upload in one pass. `compile` compiles it in a child process, which `confine` restricts.
//! `catalog` keeps the code in memory, `code_cache` on disk. `run` calls it on the `engine`, under `limits` that the
//! `limiter` enforces. `abi` translates between the contract and WIT; `answer` and `schema` validate what the plugin
//! returns. `params` checks params against its schema, within the limit of `price`.

mod abi;
mod answer;
mod catalog;
mod code_cache;
mod compile;
mod confine;
mod digest;
mod engine;
mod limiter;
mod limits;
mod params;
mod price;
mod refusal;
mod run;
mod schema;
mod section;
mod structure;
mod text;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use wasmtime::{Engine, Store};

use self::abi::v1;
use self::catalog::Catalog;
use self::code_cache::DiskCache;
use self::compile::Compiler;
use self::limits::{Budget, COMPILATIONS, LOADED_CODE_BYTES};
use self::run::Guest;
use self::structure::Scan;
use crate::contract::{Binding, Context, Decision, Fact, Issue, Manifest};

pub use self::abi::v1::IMPORTS;
pub use self::answer::is_plugin_name;
pub use self::catalog::Plugin;
pub use self::code_cache::CodeCache;
pub use self::compile::{COMPILE_WORKER, compile_worker};
pub use self::digest::Digest;
/// Only for `bench/`, which measures the engine without the sandbox around it.
#[doc(hidden)]
pub use self::engine::running as engine_to_measure;
pub use self::limits::{CallLimits, Class, ClassLimits, CompileLimits, Settings, UploadLimits};
pub use self::params::check_params;
pub use self::refusal::UploadRefusal;
pub use self::run::{Call, Failure};
pub use self::section::{custom_sections, with_custom_section};

/// An upload that passed all checks of the sandbox.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub plugin: Plugin,
    pub digest: Digest,
    pub manifest: Manifest,
    pub class: Class,
    /// The WIT world that it implements.
    pub abi: &'static str,
    pub bytes: usize,
    /// Its imports, except the types of the contract.
    pub imports: Vec<String>,
    /// The machine code, for [`Sandbox::store`].
    code: Vec<u8>,
}

impl Admitted {
    /// The size of its machine code in bytes.
    pub fn code_bytes(&self) -> usize {
        self.code.len()
    }
}

/// Why the sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("{0}")]
    Limits(String),
    #[error("cannot start the WebAssembly engine: {0}")]
    Engine(String),
    #[error("cannot use the directory for compiled code: {0}")]
    CodeCache(#[from] std::io::Error),
}

/// Why a stored plugin cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the stored bytes of {expected} are corrupt: their digest is {found}")]
    Digest { expected: Digest, found: Digest },
    #[error("the sandbox no longer accepts {digest}: {refusal}")]
    Refused { digest: Digest, refusal: UploadRefusal },
}

/// Cheap to clone; all clones share one sandbox.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    settings: Settings,
    fingerprint: String,
    engine: Engine,
    catalog: Catalog,
    compiler: Compiler,
    /// One permit per slot of the engine's pool; the pool itself fails instead of waiting when it is full.
    standard_slots: Arc<Semaphore>,
    runtime_slots: Arc<Semaphore>,
    params_checks: Arc<Semaphore>,
    /// Held while a stored plugin is compiled on demand, so that concurrent callers compile it once.
    loading: Mutex<()>,
}

impl Sandbox {
    /// `compiler` is the executable that, started with [`COMPILE_WORKER`], is the compile process.
    pub fn new(settings: &Settings, compiler: PathBuf, cache: Option<CodeCache>) -> Result<Self, SandboxError> {
        settings.check().map_err(SandboxError::Limits)?;
        let engine = engine::running(settings).map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
        let disk = cache
            .map(|cache| DiskCache::open(cache, engine::compatibility(&engine)))
            .transpose()?;
        Ok(Self(Arc::new(Inner {
            fingerprint: engine::fingerprint(),
            catalog: Catalog::new(engine.clone(), LOADED_CODE_BYTES, disk),
            compiler: Compiler::new(compiler, COMPILATIONS),
            standard_slots: Arc::new(Semaphore::new(settings.slots(Class::Standard))),
            params_checks: Arc::new(Semaphore::new(params::CHECKS)),
            runtime_slots: Arc::new(Semaphore::new(settings.slots(Class::Runtime))),
            loading: Mutex::new(()),
            settings: settings.clone(),
            engine,
        })))
    }

    /// A replay has the same result and uses the same fuel if the fingerprint is the same.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The limits of one call of the plugin.
    pub fn limits(&self, plugin: &Plugin) -> &CallLimits {
        &self.0.settings.of(plugin.class()).call
    }

    /// The slots of a class: those in use, and all.
    pub fn slots(&self, class: Class) -> (usize, usize) {
        let all = self.0.settings.slots(class);
        (all - self.0.slots(class).available_permits(), all)
    }

    /// Checks an upload and compiles it. The result can run immediately; [`store`](Self::store) it for later calls.
    pub async fn admit(&self, bytes: Vec<u8>) -> Result<Admitted, UploadRefusal> {
        let (bytes, digest, scan) = self.inspect(bytes).await?;
        let (plugin, code) = self.compile(digest, scan.class, &bytes).await?;
        self.admit_compiled(bytes.len(), digest, scan, plugin, code).await
    }

    /// Like [`admit`](Self::admit), but reuses the compiled code on disk. For plugin authors, who check the same bytes
    /// often.
    pub async fn admit_cached(&self, bytes: Vec<u8>) -> Result<Admitted, UploadRefusal> {
        let (bytes, digest, scan) = self.inspect(bytes).await?;
        let Some(plugin) = self
            .load_cached(digest)
            .await
            .filter(|plugin| plugin.class() == scan.class)
        else {
            let admitted = self.admit(bytes).await?;
            self.store(&admitted).await?;
            return Ok(admitted);
        };
        self.admit_compiled(bytes.len(), digest, scan, plugin, Vec::new()).await
    }

    async fn admit_compiled(
        &self,
        bytes: usize,
        digest: Digest,
        scan: Scan,
        plugin: Plugin,
        code: Vec<u8>,
    ) -> Result<Admitted, UploadRefusal> {
        let (manifest, fuel) = self.describe(&plugin).await?;
        let again = self.describe(&plugin).await?;
        if again != (manifest.clone(), fuel) {
            return Err(UploadRefusal::DescribesDifferently);
        }
        Ok(Admitted {
            plugin,
            digest,
            manifest,
            class: scan.class,
            abi: v1::WORLD,
            bytes,
            imports: scan.imports,
            code,
        })
    }

    /// Stores the code of an admitted upload in memory and on disk, for claims.
    pub async fn store(&self, admitted: &Admitted) -> Result<(), UploadRefusal> {
        let (inner, plugin, code) = (Arc::clone(&self.0), admitted.plugin.clone(), admitted.code.clone());
        blocking(move || inner.catalog.store(&plugin, &code)).await
    }

    /// A plugin that is loaded in memory. Neither waits nor blocks.
    pub fn loaded(&self, digest: Digest) -> Option<Plugin> {
        self.0.catalog.get(digest)
    }

    /// A plugin that is loaded in memory, or whose machine code is on disk.
    pub async fn load_cached(&self, digest: Digest) -> Option<Plugin> {
        if let Some(plugin) = self.loaded(digest) {
            return Some(plugin);
        }
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let is_enabled = |class| inner.settings.classes().any(|enabled| enabled == class);
            inner.catalog.load_from_disk(digest, is_enabled)
        })
        .await
        .ok()
        .flatten()
    }

    /// Removes the code of a deleted plugin from memory and disk.
    pub async fn remove(&self, digest: Digest) {
        let inner = Arc::clone(&self.0);
        // A failure does no harm: no event refers to a deleted plugin.
        let _ = blocking(move || inner.catalog.remove(digest)).await;
    }

    /// Loads a plugin from memory, from disk, or by compiling its bytes, in this order.
    pub async fn load(&self, digest: Digest, bytes: Vec<u8>) -> Result<Plugin, LoadError> {
        if let Some(plugin) = self.load_cached(digest).await {
            return Ok(plugin);
        }
        let _loading = self.0.loading.lock().await;
        if let Some(plugin) = self.loaded(digest) {
            return Ok(plugin);
        }
        let refused = |refusal| LoadError::Refused { digest, refusal };
        let (bytes, found, scan) = self.inspect(bytes).await.map_err(refused)?;
        if found != digest {
            return Err(LoadError::Digest {
                expected: digest,
                found,
            });
        }
        let (plugin, code) = self.compile(digest, scan.class, &bytes).await.map_err(refused)?;
        let (inner, stored) = (Arc::clone(&self.0), plugin.clone());
        blocking(move || inner.catalog.store(&stored, &code))
            .await
            .map_err(refused)?;
        Ok(plugin)
    }

    /// Calls the plugin's `bind` with these params. The inner error lists what is wrong with the params.
    pub async fn bind(&self, plugin: &Plugin, params_json: &str) -> Call<Result<Binding, Vec<Issue>>> {
        let limits = self.limits(plugin);
        if let Err(failure) = check_input(params_json.len(), limits) {
            return Call::not_run(failure);
        }
        let (linked, params) = (plugin.clone(), params_json.to_owned());
        let call = self
            .run_blocking(plugin.class(), limits.setup_budget(), move |store| {
                v1::bind(linked.linked(), store, &params)
            })
            .await;
        call.and_check(|answer| match answer {
            Ok(binding) => answer::check_binding(binding, limits),
            Err(issues) => answer::check_issues(issues),
        })
        .log_notes(plugin.digest())
    }

    /// Calls the plugin's `evaluate`. `facts[i]` answers query `i` of its plan.
    pub async fn evaluate(&self, plugin: &Plugin, context: &Context, state: &[u8], facts: &[Fact]) -> Call<Decision> {
        let (inner, class, limits) = (&self.0, plugin.class(), self.limits(plugin));
        if let Err(failure) = check_input(input_bytes(context, state, facts), limits) {
            return Call::not_run(failure);
        }
        let budget = limits.evaluate_budget();
        let call = if limits.evaluates_inline() {
            // A call this short blocks the thread for less time than a switch to another thread takes.
            match inner.slot(class).await {
                Ok(_slot) => inner.run(class, budget, |store| {
                    v1::evaluate(plugin.linked(), store, context, state, facts)
                }),
                Err(failure) => Call::not_run(failure),
            }
        } else {
            let (linked, context, state, facts) = (plugin.clone(), context.clone(), state.to_vec(), facts.to_vec());
            self.run_blocking(class, budget, move |store| {
                v1::evaluate(linked.linked(), store, &context, &state, &facts)
            })
            .await
        };
        call.and_check(|decision| answer::check_decision(decision, context, limits))
            .log_notes(plugin.digest())
    }

    /// The manifest, and the fuel that `describe` used.
    async fn describe(&self, plugin: &Plugin) -> Result<(Manifest, u64), UploadRefusal> {
        let (linked, limits) = (plugin.clone(), self.limits(plugin));
        let call = self
            .run_blocking(plugin.class(), limits.setup_budget(), move |store| {
                v1::describe(linked.linked(), store)
            })
            .await;
        // Compiling the patterns of a schema takes too long for a thread that serves requests.
        let limits = limits.clone();
        let call = blocking(move || call.and_check(|manifest| answer::check_manifest(manifest, &limits))).await?;
        let call = call.log_notes(plugin.digest());
        match call.outcome {
            Ok(manifest) => Ok((manifest, call.fuel)),
            Err(Failure::Malformed(message)) => Err(UploadRefusal::Manifest(message)),
            Err(failure) => Err(UploadRefusal::Describe(failure)),
        }
    }

    /// Checks the structure and computes the digest.
    async fn inspect(&self, bytes: Vec<u8>) -> Result<(Vec<u8>, Digest, Scan), UploadRefusal> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let scan = structure::scan(&bytes, &inner.settings)?;
            let digest = Digest::of(&bytes);
            Ok((bytes, digest, scan))
        })
        .await?
    }

    async fn compile(&self, digest: Digest, class: Class, bytes: &[u8]) -> Result<(Plugin, Vec<u8>), UploadRefusal> {
        let limits = &self.0.settings.of(class).compile;
        let code = self.0.compiler.compile(bytes, limits).await?;
        let inner = Arc::clone(&self.0);
        blocking(move || Ok((inner.catalog.load(digest, class, &code)?, code))).await?
    }

    /// Runs a call on a blocking thread. The call holds its slot until it ends, even if the caller is cancelled.
    async fn run_blocking<T: Send + 'static>(
        &self,
        class: Class,
        budget: Budget,
        job: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<Result<T, Failure>> + Send + 'static,
    ) -> Call<T> {
        let slot = match self.0.slot(class).await {
            Ok(slot) => slot,
            Err(failure) => return Call::not_run(failure),
        };
        let inner = Arc::clone(&self.0);
        let task = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            inner.run(class, budget, job)
        });
        task.await
            .unwrap_or_else(|error| Call::not_run(Failure::Sandbox(error.to_string())))
    }
}

impl Inner {
    fn slots(&self, class: Class) -> &Arc<Semaphore> {
        match class {
            Class::Standard => &self.standard_slots,
            Class::Runtime => &self.runtime_slots,
        }
    }

    async fn slot(&self, class: Class) -> Result<OwnedSemaphorePermit, Failure> {
        let slot = Arc::clone(self.slots(class)).acquire_owned();
        match tokio::time::timeout(self.settings.wait, slot).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(Failure::Overloaded),
        }
    }

    fn run<T>(
        &self,
        class: Class,
        budget: Budget,
        job: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<Result<T, Failure>>,
    ) -> Call<T> {
        run::run(&self.engine, self.settings.of(class), budget, job)
    }
}

async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, UploadRefusal> {
    tokio::task::spawn_blocking(job)
        .await
        .map_err(|error| UploadRefusal::Unavailable(error.to_string()))
}

fn check_input(found: usize, limits: &CallLimits) -> Result<(), Failure> {
    let limit = limits.input_bytes;
    if found > limit {
        Err(Failure::Input { found, limit })
    } else {
        Ok(())
    }
}

/// The approximate size of the input of a call.
fn input_bytes(context: &Context, state: &[u8], facts: &[Fact]) -> usize {
    const FIXED: usize = 32;
    let facts = facts
        .iter()
        .map(|fact| FIXED + if let Fact::Text(text) = fact { text.len() } else { 0 });
    let rewards = context
        .rewards
        .iter()
        .map(|reward| FIXED + reward.id.len() + reward.kind.len());
    let texts = [
        &context.time_zone,
        &context.event.id,
        &context.event.title,
        &context.user.id,
    ];
    let texts = texts.into_iter().map(String::len);
    state.len() + facts.chain(rewards).chain(texts).sum::<usize>()
}
