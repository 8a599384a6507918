//! Where the checkout and the build output are, and `cargo` for them, from whatever directory the command was typed in.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// Where cargo puts programs of the dev profile.
    pub(crate) programs: PathBuf,
}

impl Workspace {
    /// Cargo says where the package is and has put this program below the target directory: into `debug/`, or one
    /// folder deeper where the developer's configuration names a target.
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

    /// Cargo in the root of the checkout with the same target directory as this run. `Cargo.lock` was brought up to
    /// date when this program was built, so nothing here may change it any more.
    pub(crate) fn cargo(&self, command: &str) -> Command {
        let mut cargo = self.bare_cargo(command);
        cargo.arg("--locked");
        cargo
    }

    /// For the few commands that know no `--locked`.
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
    path_directories().any(|directory| directory.join(program).is_file())
}

pub(crate) fn path_directories() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}
