//! The fuzz targets: functions that accept any bytes and must neither panic nor take long.
//!
//! They use only the public interface of the sandbox. Two programs call them: libFuzzer (`fuzz/fuzz_targets`), guided
//! by coverage, for long runs; and `main.rs`, which mutates the seeds at random without instrumentation, for the short
//! run before every change.

#![expect(clippy::unwrap_used, reason = "a target that cannot start is a broken target")]

mod decision;
mod gate;
mod params;
mod prescan;

use std::path::PathBuf;
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use meed_host::contract::{Context, Decision, Fact};
use meed_host::sandbox::{Call, Plugin, Sandbox, Settings};

pub use decision::decision;
pub use gate::gate;
pub use params::params;
pub use prescan::prescan;

pub type Target = fn(&[u8]);

/// The targets, by the name of their folder in `fuzz/seeds`.
pub const TARGETS: [(&str, Target); 4] = [
    ("prescan", prescan),
    ("decision", decision),
    ("gate", gate),
    ("params", params),
];

static COMPILER: OnceLock<PathBuf> = OnceLock::new();
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap()
});
static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| Sandbox::new(&Settings::default(), COMPILER.wait().clone(), None).unwrap());

/// Sets the executable of the compiling process. Must be called before the first target.
pub fn compile_with(compiler: PathBuf) {
    COMPILER.get_or_init(|| compiler);
}

/// The context of a user without activities, in an event with two rewards of which one is sold out.
fn context() -> Context {
    serde_json::from_str(include_str!("context.json")).unwrap()
}

fn evaluate(plugin: &Plugin, state: &[u8]) -> Call<Decision> {
    let facts = [Fact::Absent, Fact::Integer(5), Fact::Text("gold".to_owned())];
    RUNTIME.block_on(SANDBOX.evaluate(plugin, &context(), state, &facts))
}

/// Fails if `act` takes longer than it should on a busy machine.
fn within<T>(limit: Duration, act: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = act();
    let elapsed = started.elapsed();
    assert!(elapsed <= limit, "it took {elapsed:?}, more than {limit:?}");
    result
}
