//! `cargo xtask proto`: the code of the RPC contract, generated from `proto/`. It is checked in, so that a build needs no
//! generator; `cargo xtask ci` checks that it is up to date, lints the contract, and compares it with the last release.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::npm;
use crate::pins::BUF;
use crate::process::{output, run as run_program, step};
use crate::workspace::Workspace;

/// The branch with what is not released yet, if there is no release.
const TRUNK: &str = "main";

/// Writes the code into `proto/src/generated`.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let generated = generate(workspace)?;
    let folder = checked_in(workspace);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    for (name, content) in generated {
        fs::write(folder.join(name), content)?;
    }
    Ok(())
}

/// The checks of `cargo xtask ci`.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let buf = buf(workspace)?;
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&buf);
        command.args(arguments).current_dir(workspace.root.join("proto"));
        command
    };
    run_program(&mut command(&["lint"]))?;
    run_program(&mut command(&["format", "--diff", "--exit-code", "--path", "meed"]))?;
    match last_release(workspace) {
        Some((repository, reference)) => {
            let against = format!("{repository}#ref={reference},subdir=proto");
            run_program(&mut command(&["breaking", "--against", &against]))?;
        }
        None => println!("no earlier contract to compare with"),
    }
    ensure!(
        generate(workspace)? == files(&checked_in(workspace))?,
        "proto/src/generated is not what proto/ says; run `cargo xtask proto`"
    );
    Ok(())
}

fn checked_in(workspace: &Workspace) -> PathBuf {
    workspace.root.join("proto/src/generated")
}

/// The repository, and the newest tag of a release or the trunk, if it has the contract.
fn last_release(workspace: &Workspace) -> Option<(String, String)> {
    let git = |arguments: &[&str]| {
        let found = output(Command::new("git").args(arguments).current_dir(&workspace.root)).ok()?;
        Some(found.trim().to_owned()).filter(|found| !found.is_empty())
    };
    let repository = git(&["rev-parse", "--path-format=absolute", "--git-common-dir"])?;
    let tags = git(&["tag", "--list", "v*", "--sort=-creatordate"]).unwrap_or_default();
    let candidates = tags.lines().take(1).chain([TRUNK]);
    let reference = candidates
        .into_iter()
        .find(|reference| git(&["ls-tree", reference, "proto/buf.yaml"]).is_some())?;
    Some((repository, reference.to_owned()))
}

fn buf(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("buf");
    npm::install(&folder, &BUF)?;
    Ok(folder.join("node_modules/.bin/buf"))
}

/// What `proto/src/generated` must contain.
fn generate(workspace: &Workspace) -> Result<BTreeMap<String, Vec<u8>>> {
    let buf = buf(workspace)?;
    let scratch = workspace.target.join("proto");
    let (whole, folder) = (scratch.join("whole.binpb"), scratch.join("generated"));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    step("generate the code of proto/", || {
        // With comments, which become those of the code; for reflection without.
        let mut build = Command::new(&buf);
        build.arg("build").arg(workspace.root.join("proto"));
        run_program(build.arg("-o").arg(&whole))?;
        let mut build = Command::new(&buf);
        build.arg("build").arg(workspace.root.join("proto"));
        run_program(
            build
                .args(["--exclude-source-info", "-o"])
                .arg(folder.join("descriptors.binpb")),
        )?;
        let mut generator = workspace.cargo("run");
        generator.args(["--quiet", "--manifest-path", "proto/generate/Cargo.toml", "--"]);
        generator.env("CARGO_TARGET_DIR", scratch.join("target"));
        run_program(generator.arg(&whole).arg(&folder))
    })?;
    files(&folder)
}

fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    entries
        .map(|entry| {
            let entry = entry?;
            let content = fs::read(entry.path())?;
            Ok((entry.file_name().to_string_lossy().into_owned(), content))
        })
        .collect()
}
