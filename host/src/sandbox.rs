//! Where uploaded code is inspected, compiled and run, without being able to do anything but answer.
//!
//! A plugin gets what it is told and may return an answer of the contract: no clock, no randomness, no network, no
//! files. Every call has a fresh instance and ends at the first limit it meets, and whatever it does becomes a value
//! ([`Call`], [`Refusal`]), never a panic. Only this module names wasmtime. It must not know the database, HTTP, or
//! any feature: it speaks [`crate::contract`].
//!
//! `structure` walks over an upload, `compile` turns it into machine code in another process that `confine` ties down,
//! `catalog` and `code_cache` keep that, `run` calls it under `limits` (and a `limiter`) on the `engine`, `abi`
//! translates, and `answer` and `schema` check. `package` is for
//! authors: it makes what is uploaded.

mod abi;
mod admit;
mod answer;
mod catalog;
mod code_cache;
mod compile;
mod confine;
mod digest;
mod engine;
mod limiter;
mod limits;
pub mod package;
mod run;
mod schema;
mod section;
mod structure;
mod text;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use wasmtime::{Engine, Store};

use self::abi::v1;
use self::catalog::Catalog;
use self::code_cache::Disk;
use self::compile::Compiler;
use self::limits::Budget;
use self::run::Guest;
use self::structure::Scan;
use crate::contract::{Binding, Context, Decision, Fact, Issue, Manifest};

pub use self::admit::Refusal;
pub use self::answer::params_validator;
pub use self::catalog::Plugin;
pub use self::code_cache::CodeCache;
pub use self::compile::{COMPILE_WORKER, compile_worker};
pub use self::digest::Digest;
/// For `bench/` alone, which measures what this engine can do at best.
#[doc(hidden)]
pub use self::engine::running as engine_to_measure;
pub use self::limits::{CallLimits, Class, ClassLimits, CompileLimits, PoolSettings, Settings, UploadLimits};
pub use self::run::{Call, Failure};
pub use self::section::{custom_sections, with_custom_section};

/// What was found out about an upload that is a plugin.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub plugin: Plugin,
    pub digest: Digest,
    pub manifest: Manifest,
    pub class: Class,
    /// The world it implements.
    pub abi: &'static str,
    pub bytes: usize,
    /// What it imports besides the contract's types.
    pub imports: Vec<String>,
    /// Machine code, until the sandbox keeps it.
    code: Vec<u8>,
}

impl Admitted {
    /// Bytes of machine code that it became.
    pub fn code_bytes(&self) -> usize {
        self.code.len()
    }
}

/// Why a sandbox cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("{0}")]
    Settings(String),
    #[error("cannot start the WebAssembly engine: {0}")]
    Engine(String),
    #[error("cannot use the directory for compiled code: {0}")]
    CodeCache(#[from] std::io::Error),
}

/// Why a plugin that was admitted before cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the stored bytes are not those of {expected}: their digest is {found}")]
    Digest { expected: Digest, found: Digest },
    #[error("{digest} is no longer accepted: {refusal}")]
    Refused { digest: Digest, refusal: Refusal },
}

/// Cheap to clone; all clones are one sandbox.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    settings: Settings,
    fingerprint: String,
    engine: Engine,
    catalog: Catalog,
    compiler: Compiler,
    /// One permit per place in the engine's pool, which does not wait when it is full.
    standard_slots: Arc<Semaphore>,
    runtime_slots: Arc<Semaphore>,
    /// Held while a plugin is compiled because it was needed and not at hand, so that all who need it wait for one.
    loading: Mutex<()>,
}

impl Sandbox {
    /// `compiler` is the executable that becomes a compiling process when it is run with [`COMPILE_WORKER`].
    pub fn new(settings: &Settings, compiler: PathBuf, cache: Option<CodeCache>) -> Result<Self, SandboxError> {
        settings.check().map_err(SandboxError::Settings)?;
        let engine = engine::running(settings).map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
        let disk = cache
            .map(|cache| Disk::open(cache, engine::compatibility(&engine)))
            .transpose()?;
        Ok(Self(Arc::new(Inner {
            fingerprint: engine::fingerprint(),
            catalog: Catalog::new(engine.clone(), settings.pool.loaded_code_bytes, disk),
            compiler: Compiler::new(compiler, settings.pool.compilations),
            standard_slots: Arc::new(Semaphore::new(settings.slots(Class::Standard))),
            runtime_slots: Arc::new(Semaphore::new(settings.slots(Class::Runtime))),
            loading: Mutex::new(()),
            settings: settings.clone(),
            engine,
        })))
    }

    /// What has to be equal for a decision to be run again with the same result and the same fuel.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// What a call of the plugin may use.
    pub fn limits(&self, plugin: &Plugin) -> &CallLimits {
        &self.0.settings.of(plugin.class()).call
    }

    /// Places for calls of a class: those in use, and all.
    pub fn slots(&self, class: Class) -> (usize, usize) {
        let all = self.0.settings.slots(class);
        (all - self.0.slots(class).available_permits(), all)
    }

    /// Finds out whether an upload is a plugin. It can be run at once; for later, [`keep`](Self::keep) it.
    pub async fn admit(&self, bytes: Vec<u8>) -> Result<Admitted, Refusal> {
        let (bytes, digest, scan) = self.inspect(bytes).await?;
        let (plugin, code) = self.compile(digest, scan.class, &bytes).await?;
        self.admit_compiled(bytes.len(), digest, scan, plugin, code).await
    }

    /// The same for the author of a plugin, who admits the same bytes often: compiled code is taken from the disk.
    pub async fn admit_again(&self, bytes: Vec<u8>) -> Result<Admitted, Refusal> {
        let (bytes, digest, scan) = self.inspect(bytes).await?;
        let Some(plugin) = self.recall(digest).await.filter(|plugin| plugin.class() == scan.class) else {
            let admitted = self.admit(bytes).await?;
            self.keep(&admitted).await?;
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
    ) -> Result<Admitted, Refusal> {
        let (manifest, fuel) = self.describe(&plugin).await?;
        let again = self.describe(&plugin).await?;
        if again != (manifest.clone(), fuel) {
            return Err(Refusal::DescribesDifferently);
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

    /// Keeps what was admitted, in memory and on disk, so that claims find it.
    pub async fn keep(&self, admitted: &Admitted) -> Result<(), Refusal> {
        let (inner, plugin, code) = (Arc::clone(&self.0), admitted.plugin.clone(), admitted.code.clone());
        blocking(move || inner.catalog.keep(&plugin, &code)).await
    }

    /// A plugin that is in memory: what a claim asks first. Neither waits nor blocks.
    pub fn loaded(&self, digest: Digest) -> Option<Plugin> {
        self.0.catalog.get(digest)
    }

    /// A plugin that is in memory or whose machine code is on disk.
    pub async fn recall(&self, digest: Digest) -> Option<Plugin> {
        if let Some(plugin) = self.loaded(digest) {
            return Some(plugin);
        }
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let is_taken = |class| inner.settings.classes().any(|taken| taken == class);
            inner.catalog.recall(digest, is_taken)
        })
        .await
        .ok()
        .flatten()
    }

    /// Forgets a plugin that is gone, in memory and on disk.
    pub async fn forget(&self, digest: Digest) {
        let inner = Arc::clone(&self.0);
        // Nothing is lost when this fails: without its version, nobody asks for the code.
        let _ = blocking(move || inner.catalog.forget(digest)).await;
    }

    /// A plugin from memory, from disk, or from its bytes, in this order.
    pub async fn load(&self, digest: Digest, bytes: Vec<u8>) -> Result<Plugin, LoadError> {
        if let Some(plugin) = self.recall(digest).await {
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
        let (inner, kept) = (Arc::clone(&self.0), plugin.clone());
        blocking(move || inner.catalog.keep(&kept, &code))
            .await
            .map_err(refused)?;
        Ok(plugin)
    }

    /// Asks a plugin for its plan with these params; the inner error is what is wrong with them.
    pub async fn bind(&self, plugin: &Plugin, params_json: &str) -> Call<Result<Binding, Vec<Issue>>> {
        let limits = self.limits(plugin);
        if let Err(failure) = fits(params_json.len(), limits) {
            return Call::not_run(failure);
        }
        let (linked, params) = (plugin.clone(), params_json.to_owned());
        let call = self
            .aside(plugin.class(), limits.setup_budget(), move |store| {
                v1::bind(linked.linked(), store, &params)
            })
            .await;
        call.and_check(|answer| match answer {
            Ok(binding) => answer::check_binding(binding, limits),
            Err(issues) => answer::check_issues(issues),
        })
        .log_notes(plugin.digest())
    }

    /// Asks a plugin for its decision. `facts[i]` answers the i-th query of its plan.
    pub async fn evaluate(&self, plugin: &Plugin, context: &Context, state: &[u8], facts: &[Fact]) -> Call<Decision> {
        let (inner, class, limits) = (&self.0, plugin.class(), self.limits(plugin));
        if let Err(failure) = fits(input_bytes(context, state, facts), limits) {
            return Call::not_run(failure);
        }
        let budget = limits.evaluate_budget();
        let call = if limits.evaluates_inline() {
            // So short that handing it to another thread would cost more than it blocks this one.
            match inner.slot(class).await {
                Ok(_slot) => inner.run(class, budget, |store| {
                    v1::evaluate(plugin.linked(), store, context, state, facts)
                }),
                Err(failure) => Call::not_run(failure),
            }
        } else {
            let (linked, context, state, facts) = (plugin.clone(), context.clone(), state.to_vec(), facts.to_vec());
            self.aside(class, budget, move |store| {
                v1::evaluate(linked.linked(), store, &context, &state, &facts)
            })
            .await
        };
        call.and_check(|decision| answer::check_decision(decision, context, limits))
            .log_notes(plugin.digest())
    }

    /// The manifest, and the fuel it took.
    async fn describe(&self, plugin: &Plugin) -> Result<(Manifest, u64), Refusal> {
        let (linked, limits) = (plugin.clone(), self.limits(plugin));
        let call = self
            .aside(plugin.class(), limits.setup_budget(), move |store| {
                v1::describe(linked.linked(), store)
            })
            .await;
        let call = call
            .and_check(|manifest| answer::check_manifest(manifest, limits))
            .log_notes(plugin.digest());
        match call.outcome {
            Ok(manifest) => Ok((manifest, call.fuel)),
            Err(Failure::Malformed(fault)) => Err(Refusal::Manifest(fault)),
            Err(failure) => Err(Refusal::Describe(failure)),
        }
    }

    /// Structure and digest.
    async fn inspect(&self, bytes: Vec<u8>) -> Result<(Vec<u8>, Digest, Scan), Refusal> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let scan = structure::scan(&bytes, &inner.settings)?;
            let digest = Digest::of(&bytes);
            Ok((bytes, digest, scan))
        })
        .await?
    }

    async fn compile(&self, digest: Digest, class: Class, bytes: &[u8]) -> Result<(Plugin, Vec<u8>), Refusal> {
        let limits = &self.0.settings.of(class).compile;
        let code = self.0.compiler.compile(bytes, limits).await?;
        let inner = Arc::clone(&self.0);
        blocking(move || Ok((inner.catalog.load(digest, class, &code)?, code))).await?
    }

    /// Runs a call on a thread that may block. As many as there are slots, whatever becomes of the caller.
    async fn aside<T: Send + 'static>(
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
        match tokio::time::timeout(Duration::from_millis(self.settings.pool.wait_ms), slot).await {
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

async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(job)
        .await
        .map_err(|error| Refusal::Unavailable(error.to_string()))
}

fn fits(found: usize, limits: &CallLimits) -> Result<(), Failure> {
    let limit = limits.input_bytes;
    if found > limit {
        Err(Failure::Input { found, limit })
    } else {
        Ok(())
    }
}

/// Roughly what a guest has to take in.
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
