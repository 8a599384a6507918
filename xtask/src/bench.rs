//! `cargo xtask bench`: the programs of `bench/`, each of which prints its ratios against a baseline of the same run.

use std::ffi::OsString;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::plugins;
use crate::process::{run as run_program, step};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, wanted: &[OsString]) -> Result<()> {
    let programs = programs(workspace)?;
    if let Some(unknown) = wanted
        .iter()
        .find(|name| !programs.iter().any(|known| **name == **known))
    {
        bail!(
            "bench/ has no program {}; it has {}",
            unknown.display(),
            programs.join(", ")
        );
    }
    let plugins = plugins::build(workspace)?;
    step("build the benchmarks", || {
        run_program(workspace.cargo("build").args(["--release", "--package", "bench"]))
    })?;
    for program in programs {
        if wanted.is_empty() || wanted.iter().any(|name| *name == *program) {
            step(&program, || {
                let mut cargo = workspace.cargo("run");
                cargo.args(["--quiet", "--release", "--package", "bench", "--bin", &program]);
                run_program(cargo.env("MEED_TEST_PLUGINS", &plugins))
            })?;
        }
    }
    Ok(())
}

/// Cargo's own rule: `main.rs` is called like the package, and every file or folder of `bin/` is a program.
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
