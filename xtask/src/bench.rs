//! `cargo xtask bench`: runs the programs of `bench/`. Each prints its ratios to a baseline of the same run. `peers`
//! has its own workspace and runs only when named.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::plugins;
use crate::postgres::{Cluster, Durability, Server};
use crate::process::{run as run_program, step};
use crate::redis;
use crate::workspace::Workspace;

/// The programs that need a PostgreSQL server.
const NEED_POSTGRES: [&str; 6] = ["claim", "facts", "fill", NEEDS_REDIS, "shadow", "streams"];
/// The program that also needs Redis.
const NEEDS_REDIS: &str = "redis";
/// Compares with other engines; see `bench/peers/Cargo.toml`.
const PEERS: &str = "peers";
/// Its WebAssembly modules.
const GUESTS: [&str; 2] = ["core-json", "extism-json"];

pub(crate) fn run(workspace: &Workspace, wanted: &[OsString]) -> Result<()> {
    let programs = programs(workspace)?;
    if let Some(unknown) = wanted
        .iter()
        .find(|name| **name != *PEERS && !programs.iter().any(|known| **name == **known))
    {
        bail!(
            "bench/ has no program {}; it has {} and {PEERS}",
            unknown.display(),
            programs.join(", ")
        );
    }
    let plugins = plugins::build(workspace)?;
    for program in &programs {
        if wanted.is_empty() || wanted.iter().any(|name| **name == **program) {
            step(&format!("build {program}"), || {
                run_program(workspace.cargo("build").args(of_bench(program)))
            })?;
            step(program, || {
                let mut cargo = workspace.cargo("run");
                cargo.arg("--quiet").args(of_bench(program));
                cargo.env("MEED_TEST_PLUGINS", &plugins);
                if !NEED_POSTGRES.contains(&program.as_str()) {
                    return run_program(&mut cargo);
                }
                if program == NEEDS_REDIS {
                    cargo.env("MEED_BENCH_REDIS", redis::find_or_install()?);
                }
                let server = Server::find_or_install()?;
                let cluster = Cluster::start(server, &workspace.target, Durability::Real)?;
                cargo.env("MEED_BENCH_POSTGRES", cluster.url());
                run_program(cargo.env("MEED_BENCH_POSTGRES_PROGRAMS", cluster.programs()))
            })?;
        }
    }
    if wanted.iter().any(|name| **name == *PEERS) {
        peers(workspace, &plugins)?;
    }
    Ok(())
}

fn of_bench(program: &str) -> [&str; 5] {
    ["--release", "--package", "bench", "--bin", program]
}

fn peers(workspace: &Workspace, plugins: &Path) -> Result<()> {
    let cargo = |command: &str| {
        let mut cargo = workspace.cargo(command);
        cargo.args(["--manifest-path", "bench/peers/Cargo.toml"]);
        cargo
    };
    step("build the guests of other engines", || {
        let mut cargo = cargo("build");
        plugins::compile_for_wasm(&mut cargo, &GUESTS);
        run_program(&mut cargo)
    })?;
    step("build the other engines", || {
        run_program(cargo("build").args(["--release", "--package", PEERS]))
    })?;
    step(PEERS, || {
        let mut cargo: Command = cargo("run");
        cargo.args(["--quiet", "--release", "--package", PEERS]);
        cargo.env("MEED_BENCH_GUESTS", plugins::artefacts(workspace));
        run_program(cargo.env("MEED_TEST_PLUGINS", plugins))
    })
}

/// As in Cargo: `main.rs` has the name of the package, and every file or folder of `bin/` is a program.
fn programs(workspace: &Workspace) -> Result<Vec<String>> {
    let source = workspace.root.join("bench/src");
    let mut programs = Vec::new();
    if source.join("main.rs").is_file() {
        programs.push("bench".to_owned());
    }
    let folder = source.join("bin");
    if folder.is_dir() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() || path.extension().is_some_and(|extension| extension == "rs") {
                programs.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
            }
        }
    }
    programs.sort();
    Ok(programs)
}
