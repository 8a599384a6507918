//! Installs programs with the package manager of the system, or below the target directory.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use rustix::process::geteuid;

use crate::process::{run, step};
use crate::workspace::is_on_path;

/// A program, and the script that installs it for each package manager.
pub(crate) struct Package {
    /// For messages.
    pub(crate) name: &'static str,
    pub(crate) scripts: &'static [(&'static str, &'static str)],
    /// What to do without a known package manager.
    pub(crate) by_hand: &'static str,
}

impl Package {
    pub(crate) fn install(&self) -> Result<()> {
        let Self { name, scripts, by_hand } = self;
        let Some((manager, script)) = scripts.iter().find(|(manager, _)| is_on_path(manager)) else {
            let known: Vec<_> = scripts.iter().map(|(manager, _)| *manager).collect();
            bail!(
                "{name} is missing, and none of the package managers {} is on the PATH; {by_hand}",
                known.join(", ")
            );
        };
        // Homebrew refuses to run as root; all others need it.
        let mut command = if *manager != "brew" && !geteuid().is_root() {
            if !is_on_path("sudo") {
                bail!("{name} is missing; `{manager}` installs only as root, and sudo is not on the PATH; {by_hand}");
            }
            let mut sudo = Command::new("sudo");
            sudo.arg("sh");
            sudo
        } else {
            Command::new("sh")
        };
        run(command.args(["-c", script])).with_context(|| format!("install {name} with {manager}; {by_hand}"))
    }
}

/// Installs these versions into the folder unless its file `versions`, written last, names them.
pub(crate) fn unless_there(folder: &Path, pins: &[&str], install: impl FnOnce() -> Result<()>) -> Result<()> {
    let marker = folder.join("versions");
    let versions = pins.join("\n");
    if fs::read_to_string(&marker).is_ok_and(|found| found == versions) {
        return Ok(());
    }
    step(&format!("install {}", pins.join(", ")), || {
        install().context("install from PyPI or npm, which needs the network once")
    })?;
    fs::write(&marker, versions).with_context(|| format!("write {}", marker.display()))
}
