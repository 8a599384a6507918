//! The wasmtime configuration, and the two engines that use it: one compiles, the other runs.
//!
//! They differ only in their allocation of instances, so the running engine loads the code of the compiling one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, ModuleVersionStrategy, OptLevel, PoolingAllocationConfig,
    Strategy,
};

use super::limits::{Class, STACK_BYTES, Settings};

/// The exact version in `Cargo.lock`; a test compares them. wasmtime itself compares only the major version, and would
/// load code that an older, vulnerable patch release compiled.
const WASMTIME: &str = "48.0.8";
/// Increment it with every change here, in `limits` or in the contract that can change a decision or its fuel.
const REVISION: u32 = 3;

/// The interval of the epoch clock, which ends calls at their deadline. 1 ms would cost 2 % of a core.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Identifies the engine for replays: its version and the configuration of the language.
///
/// It excludes limits, because a denied growth ends the call (see `limiter`). It excludes CPU features, because the
/// language is deterministic under this configuration.
pub(super) fn fingerprint() -> String {
    format!("wasmtime-{WASMTIME}+meed-{REVISION}")
}

fn config() -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        // The language: WebAssembly 2.0 and components. Most security advisories concern newer proposals, and no
        // condition needs them. Multiple memories are enabled for the adapters that the engine generates between the
        // components of a plugin; each module of an upload may have one memory only (see `structure`).
        .wasm_multi_memory(true)
        .wasm_gc(false)
        .wasm_exceptions(false)
        .wasm_function_references(false)
        .gc_support(false)
        .wasm_threads(false)
        .shared_memory(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .concurrency_support(false)
        // Determinism: the same decision and fuel on every machine.
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        .cranelift_nan_canonicalization(true)
        // Limits.
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        // Speed: guard pages instead of bounds checks, copy-on-write instead of initialization.
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .memory_init_cow(true)
        // No backtraces: the source of guests is not available, and unwind tables slow down loading.
        .native_unwind_info(false)
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None)
        .module_version(ModuleVersionStrategy::Custom(fingerprint()))?;
    Ok(config)
}

/// The engine of the compile process. It allocates no pool.
pub(super) fn compiling() -> wasmtime::Result<Engine> {
    Engine::new(config()?.allocation_strategy(InstanceAllocationStrategy::OnDemand))
}

/// The engine that runs plugins, with a pool for all slots of `settings`. Starts the epoch clock.
pub fn running(settings: &Settings) -> wasmtime::Result<Engine> {
    let engine = Engine::new(config()?.allocation_strategy(pool(settings))).or_else(|error| {
        // A container may limit the address space. Without a pool the sandbox works, but more slowly.
        tracing::warn!(%error, "cannot reserve address space for the sandbox pool; evaluations will be several times slower");
        compiling()
    })?;
    let weak = engine.weak();
    // An operating system thread: a task would not run while guests occupy all worker threads.
    std::thread::Builder::new()
        .name("sandbox-clock".to_owned())
        .spawn(move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })?;
    Ok(engine)
}

/// One pool for all classes, with the limits of the largest class. The semaphores limit the slots of each class; the
/// structure check and the limiter limit each plugin.
fn pool(settings: &Settings) -> InstanceAllocationStrategy {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let sum = |of: &dyn Fn(Class) -> usize| count(settings.classes().map(of).sum());
    let max = |of: &dyn Fn(Class) -> usize| settings.classes().map(of).max().unwrap_or_default();
    let per_slot = |of: &dyn Fn(Class) -> usize| sum(&|class| settings.slots(class) * of(class));
    let upload = |class| &settings.of(class).upload;
    let call = |class| &settings.of(class).call;
    let instance_bytes = if settings.language_runtimes { 8 << 20 } else { 1 << 20 };
    let slots = sum(&|class| settings.slots(class));
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(per_slot(&|class| upload(class).core_instances))
        .total_memories(per_slot(&|class| upload(class).memories))
        .total_tables(per_slot(&|class| upload(class).tables))
        .max_core_instances_per_component(count(max(&|class| upload(class).core_instances)))
        .max_memories_per_component(count(max(&|class| upload(class).memories)))
        .max_tables_per_component(count(max(&|class| upload(class).tables)))
        .max_tables_per_module(count(max(&|class| upload(class).tables)))
        .max_memory_size(max(&|class| call(class).memory_bytes))
        .table_elements(max(&|class| call(class).table_elements))
        .max_component_instance_size(instance_bytes)
        .max_core_instance_size(instance_bytes)
        // Reset dirty pages, found with one system call, instead of unmapping all pages. The two options together make
        // a fresh instance two to six times faster.
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(8 << 10)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(slots)
        .decommit_batch_size(1);
    pool.into()
}

/// A hash of everything that must match for `engine` to load compiled code. Unlike [`fingerprint`] it includes CPU
/// features.
pub(super) fn compatibility(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_version_matches_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"\n")));
    }

    #[test]
    fn each_engine_loads_the_code_of_the_other() {
        let running = running(&Settings::default()).unwrap();
        assert_eq!(compatibility(&running), compatibility(&compiling().unwrap()));
    }

    #[test]
    fn the_epoch_clock_stops_with_the_engine() {
        let engine = running(&Settings::default()).unwrap();
        let weak = engine.weak();
        drop(engine);
        for _ in 0..1_000 {
            if weak.upgrade().is_none() {
                return;
            }
            std::thread::sleep(TICK);
        }
        panic!("the engine is still alive");
    }
}
