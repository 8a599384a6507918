//! The directories of the checkout and of the build output, and `cargo` commands for them, from any current directory.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// The output directory of the profiles `dev` and `test`.
    pub(crate) programs: PathBuf,
}

impl Workspace {
    /// Cargo sets the directory of the package, and has put this program below the target directory: into `debug/`, or
    /// one directory deeper when the developer's configuration names a target.
    pub(crate) fn find() -> Result<Self> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").context("start this program as `cargo xtask`")?;
        let program = std::env::current_exe().context("find the path of this program")?;
        Ok(Self {
            root: PathBuf::from(package)
                .parent()
                .context("find the root of the checkout")?
                .to_owned(),
            target: program
                .ancestors()
                .find(|directory| directory.join(".rustc_info.json").is_file())
                .or(program.ancestors().nth(2))
                .context("find the target directory")?
                .to_owned(),
            programs: program.parent().context("find the programs")?.to_owned(),
        })
    }

    /// Cargo in the root of the checkout with the target directory of this run. `--locked`, because `Cargo.lock` was
    /// updated when this program was built and must not change during the run.
    pub(crate) fn cargo(&self, command: &str) -> Command {
        let mut cargo = self.bare_cargo(command);
        cargo.arg("--locked");
        cargo
    }

    /// For the commands without `--locked`.
    pub(crate) fn bare_cargo(&self, command: &str) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .arg(command)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        cargo
    }
}

/// Whether a program of this name is on the PATH.
pub(crate) fn is_on_path(program: &str) -> bool {
    find_on_path(program).is_some()
}

pub(crate) fn find_on_path(program: &str) -> Option<PathBuf> {
    path_directories()
        .map(|directory| directory.join(program))
        .find(|program| program.is_file())
}

pub(crate) fn path_directories() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}
