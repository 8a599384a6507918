//! `cargo xtask ci`: format, lints, docs and dependency rules. `cargo xtask test` has already compared the migrations
//! of both engines and the OpenAPI document.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::pins::CARGO_DENY;
use crate::process::{output, run as run_program, step};
use crate::proto;
use crate::python;
use crate::test::FEATURES;
use crate::workspace::{Workspace, is_on_path};

/// Crates that must not be in the program: with two crypto providers, rustls panics at the first handshake.
const BANNED: [&str; 4] = ["ring", "openssl", "openssl-sys", "native-tls"];

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    step("compiler version", || check_compiler(workspace))?;
    step("format", || {
        run_program(workspace.bare_cargo("fmt").args(["--all", "--check"]))
    })?;
    step("dependencies", || check_dependencies(workspace))?;
    step("licences and sources", || check_policy(workspace))?;
    step("RPC contract", || proto::check(workspace))?;
    step("lints", || {
        let mut clippy = workspace.cargo("clippy");
        clippy.args(["--workspace", "--all-targets", "--features", "meed/mutations"]);
        clippy.args(FEATURES);
        run_program(clippy.args(["--", "-D", "warnings"]))?;
        let mut without = workspace.cargo("clippy");
        run_program(without.args(["--package", "meed", "--", "-D", "warnings"]))
    })?;
    step("docs", || {
        let mut doc = workspace.cargo("doc");
        run_program(
            doc.args(["--workspace", "--no-deps"])
                .args(FEATURES)
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    })?;
    Ok(())
}

/// Requires the compiler version of rust-toolchain.toml.
fn check_compiler(workspace: &Workspace) -> Result<()> {
    let file = fs::read_to_string(workspace.root.join("rust-toolchain.toml")).context("read rust-toolchain.toml")?;
    let wanted = file
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .context("find `channel = ` in rust-toolchain.toml")?
        .trim_matches('"');
    let version = output(Command::new("rustc").arg("--version").current_dir(&workspace.root))?;
    print!("{version}");
    if version.split_whitespace().nth(1) != Some(wanted) {
        bail!(
            "rust-toolchain.toml asks for {wanted}; run `rustup toolchain install {wanted}` and unset RUSTUP_TOOLCHAIN"
        );
    }
    Ok(())
}

fn check_dependencies(workspace: &Workspace) -> Result<()> {
    let mut tree = workspace.cargo("tree");
    tree.args(["--workspace", "--edges", "normal,build,dev", "--prefix", "none"])
        .args(FEATURES);
    let crates = output(&mut tree)?;
    println!("{} crates, Cargo.lock is up to date", count(&crates));
    for banned in BANNED {
        if crates.lines().any(|line| line.split(' ').next() == Some(banned)) {
            bail!("the crate {banned} is a dependency; `cargo tree --workspace -i {banned}` shows why");
        }
    }
    Ok(())
}

/// Licences, sources and banned crates. Advisories need a download from GitHub; a scheduled workflow checks them.
fn check_policy(workspace: &Workspace) -> Result<()> {
    let mut deny = if is_on_path("cargo-deny") {
        Command::new("cargo-deny")
    } else {
        let folder = workspace.target.join("cargo-deny");
        python::install(&folder, &CARGO_DENY)?;
        Command::new(folder.join("bin/cargo-deny"))
    };
    run_program(deny.current_dir(&workspace.root).args([
        "--locked",
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}

fn count(tree: &str) -> usize {
    let mut crates: Vec<_> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    crates.sort_unstable();
    crates.dedup();
    crates.len()
}
