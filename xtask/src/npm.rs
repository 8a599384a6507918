//! Programs from npm, in a folder below the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::package::{Package, unless_there};
use crate::pins::CLIENT_TOOLS;
use crate::process::run;
use crate::workspace::{Workspace, is_on_path};

const ITSELF: Package = Package {
    name: "npm",
    scripts: &[
        (
            "apt-get",
            "export DEBIAN_FRONTEND=noninteractive && apt-get update && \
             apt-get install -y --no-install-recommends nodejs npm",
        ),
        ("dnf", "dnf install -y nodejs npm"),
        ("apk", "apk add --no-cache nodejs npm"),
        ("brew", "brew install node"),
    ],
    by_hand: "install Node.js 20 or newer by hand and try again",
};

/// Installs npm itself, unless it is there.
pub(crate) fn require() -> Result<()> {
    if is_on_path("npm") { Ok(()) } else { ITSELF.install() }
}

/// Installs these packages, unless they are there. Their programs are in `node_modules/.bin`.
pub(crate) fn install(folder: &Path, pins: &[&str]) -> Result<()> {
    unless_there(folder, pins, || {
        require()?;
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--no-audit",
            "--no-fund",
            "--no-package-lock",
            "--loglevel=error",
            "--prefix",
        ]);
        run(npm.arg(folder).args(pins))
    })
}

/// The `node_modules` with which a test generates and runs a client of the API.
pub(crate) fn client_tools(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("client-tools");
    install(&folder, &CLIENT_TOOLS)?;
    Ok(folder.join("node_modules"))
}
