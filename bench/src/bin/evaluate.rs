//! `cargo xtask bench evaluate`: what a decision costs in the sandbox, next to the same rule in Rust.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    bench::compare(|_| Ok(Vec::new()))
}
