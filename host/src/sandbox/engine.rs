//! The one wasmtime configuration, and the two engines made from it: one compiles, the other runs.
//!
//! They differ only in how they allocate instances, so each loads what the other compiled.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, ModuleVersionStrategy, OptLevel, PoolingAllocationConfig,
    Strategy,
};

use super::limits::{Class, STACK_BYTES, Settings};

/// The exact version in `Cargo.lock` (a test compares). wasmtime's own check looks at the major version only, and
/// would load code that an older, vulnerable patch release compiled.
const WASMTIME: &str = "48.0.8";
/// To be raised with every change here or in `limits` that can change a decision or its fuel.
const REVISION: u32 = 2;

/// How often the clock that ends calls at their deadline ticks. A thousand times a second would cost 2 % of a core.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// What must be equal for a replay to mean anything: the engine's version and what we configured about the language.
///
/// Limits do not belong to it, as a denied growth ends the call (see `limits`); nor do the features of the CPU, as the
/// language is deterministic under this configuration.
pub(super) fn fingerprint() -> String {
    format!("wasmtime-{WASMTIME}+meed-{REVISION}")
}

fn config() -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        // The language: WebAssembly 2.0 and components. Newer proposals are where most advisories are, and no
        // condition needs them. Several memories are for the engine's own code between two components of one plugin; a
        // module of an upload may have one (see `structure`).
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
        // The same decision and the same fuel everywhere.
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        .cranelift_nan_canonicalization(true)
        // Limits.
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        // Speed: guard pages instead of bounds checks, copy-on-write instead of initialisation.
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .memory_init_cow(true)
        // Guests have no source here to map back to; unwind tables slow down loading.
        .native_unwind_info(false)
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None)
        .module_version(ModuleVersionStrategy::Custom(fingerprint()))?;
    Ok(config)
}

/// The engine of the compiling process: it allocates nothing ahead.
pub(super) fn compiling() -> wasmtime::Result<Engine> {
    Engine::new(config()?.allocation_strategy(InstanceAllocationStrategy::OnDemand))
}

/// The engine that runs plugins, with all places of `settings` ready, and its ticking clock.
pub fn running(settings: &Settings) -> wasmtime::Result<Engine> {
    let engine = Engine::new(config()?.allocation_strategy(pool(settings))).or_else(|error| {
        // A container may forbid the address space. Everything works without a pool, only slower.
        tracing::warn!(%error, "cannot reserve address space for the sandbox pool; evaluations will be several times slower");
        compiling()
    })?;
    let weak = engine.weak();
    // A thread of the operating system: tasks would not tick while all workers are busy with guests.
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

/// One pool for all classes: how many of its places a class may take is for its semaphore, and what a plugin may have
/// for the structure check and the limiter. Here the larger class decides.
fn pool(settings: &Settings) -> InstanceAllocationStrategy {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let sum = |of: &dyn Fn(Class) -> usize| count(settings.classes().map(of).sum());
    let most = |of: &dyn Fn(Class) -> usize| settings.classes().map(of).max().unwrap_or_default();
    let places = |of: &dyn Fn(Class) -> usize| sum(&|class| settings.slots(class) * of(class));
    let upload = |class| &settings.of(class).upload;
    let call = |class| &settings.of(class).call;
    let instance_bytes = if settings.language_runtimes { 8 << 20 } else { 1 << 20 };
    let slots = sum(&|class| settings.slots(class));
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(places(&|class| upload(class).core_instances))
        .total_memories(places(&|class| upload(class).memories))
        .total_tables(places(&|class| upload(class).tables))
        .max_core_instances_per_component(count(most(&|class| upload(class).core_instances)))
        .max_memories_per_component(count(most(&|class| upload(class).memories)))
        .max_tables_per_component(count(most(&|class| upload(class).tables)))
        .max_tables_per_module(count(most(&|class| upload(class).tables)))
        .max_memory_size(most(&|class| call(class).memory_bytes))
        .table_elements(most(&|class| call(class).table_elements))
        .max_component_instance_size(instance_bytes)
        .max_core_instance_size(instance_bytes)
        // Resetting dirty pages by hand, and finding them with one system call, instead of unmapping all of them:
        // the pair makes a fresh instance two to six times cheaper.
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(8 << 10)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(slots)
        .decommit_batch_size(1);
    pool.into()
}

/// Equal if and only if `engine` can load the code: CPU features included, unlike in [`fingerprint`].
pub(super) fn compatibility(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_version_is_the_one_in_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"\n")));
    }

    #[test]
    fn both_engines_accept_each_others_code() {
        let running = running(&Settings::default()).unwrap();
        assert_eq!(compatibility(&running), compatibility(&compiling().unwrap()));
    }

    #[test]
    fn the_clock_ticks_and_ends_with_the_engine() {
        let engine = running(&Settings::default()).unwrap();
        let weak = engine.weak();
        drop(engine);
        for _ in 0..1_000 {
            if weak.upgrade().is_none() {
                return;
            }
            std::thread::sleep(TICK);
        }
        panic!("something keeps the engine alive");
    }
}
