//! `cargo xtask bench peers`: the rows of Meed and of other engines in one run.
//!
//! All engines evaluate `login-streak` with seven days, of which five are done. Each must return the same decision,
//! before and during the measurement.

mod core_module;
mod json;
mod plugin;
mod script;

use std::process::ExitCode;

use anyhow::Context as _;
use bench::harness::Row;
use bench::{Ours, directory};

fn main() -> anyhow::Result<ExitCode> {
    bench::compare(rows)
}

fn rows(ours: &Ours) -> anyhow::Result<Vec<Row>> {
    let guests = directory("MEED_BENCH_GUESTS").context("run it with `cargo xtask bench peers`")?;
    let guest = |name: &str| {
        let path = guests.join(name);
        std::fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    let mut rows = script::rows(&ours.login_streak)?;
    rows.extend(core_module::rows(ours, &guest("core_json.wasm")?)?);
    rows.extend(plugin::rows(&ours.login_streak, guest("extism_json.wasm")?)?);
    Ok(rows)
}
