//! Installing a program through the package manager that is there, or below the target directory.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use rustix::process::geteuid;

use crate::process::{run, step};
use crate::workspace::is_on_path;

/// What to install, and the script that does it for each package manager.
pub(crate) struct Package {
    /// For messages: "the tests need PostgreSQL".
    pub(crate) name: &'static str,
    pub(crate) scripts: &'static [(&'static str, &'static str)],
    /// What to do where no script helps.
    pub(crate) by_hand: &'static str,
}

impl Package {
    pub(crate) fn install(&self) -> Result<()> {
        let Self { name, scripts, by_hand } = self;
        let Some((manager, script)) = scripts.iter().find(|(manager, _)| is_on_path(manager)) else {
            let known: Vec<_> = scripts.iter().map(|(manager, _)| *manager).collect();
            bail!(
                "{name} is missing, and there is none of {} to install it with; {by_hand}",
                known.join(", ")
            );
        };
        // Homebrew refuses to run as root, all others need it.
        let mut command = if *manager != "brew" && !geteuid().is_root() {
            if !is_on_path("sudo") {
                bail!("{name} is missing; `{manager}` can install it only as root, and there is no sudo; {by_hand}");
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

/// Installs what is not in the folder at these versions. A file with them is written when all are installed.
pub(crate) fn unless_there(folder: &Path, pins: &[&str], install: impl FnOnce() -> Result<()>) -> Result<()> {
    let marker = folder.join("versions");
    let versions = pins.join("\n");
    if fs::read_to_string(&marker).is_ok_and(|found| found == versions) {
        return Ok(());
    }
    step(&format!("install {}", pins.join(", ")), || {
        install().context("they come from PyPI and npm, which need the network once")
    })?;
    fs::write(&marker, versions).with_context(|| format!("write {}", marker.display()))
}
