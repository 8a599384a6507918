//! `cargo xtask bench evaluate`: the cost of a decision in the sandbox, compared with the same rule in Rust.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    bench::compare(|_| Ok(Vec::new()))
}
