//! Programs from PyPI, in a virtual environment below the target directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::package::{Package, unless_there};
use crate::pins::PYTHON_CLIENT_TOOLS;
use crate::process::run;
use crate::workspace::Workspace;

const ITSELF: Package = Package {
    name: "Python 3 with venv",
    scripts: &[
        (
            "apt-get",
            "export DEBIAN_FRONTEND=noninteractive && apt-get update && \
             apt-get install -y --no-install-recommends python3 python3-venv",
        ),
        ("dnf", "dnf install -y python3"),
        ("apk", "apk add --no-cache python3"),
        ("brew", "brew install python3"),
    ],
    by_hand: "install Python 3.11 or newer by hand and try again",
};

/// Creates an environment with these packages, unless it exists. Its programs are in `bin`.
pub(crate) fn install(folder: &Path, pins: &[&str]) -> Result<()> {
    unless_there(folder, pins, || {
        if !has_venv() {
            ITSELF.install()?;
        }
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
        run(pip(folder).args(pins))
    })
}

/// The Python with which a test builds and runs the client of the API.
pub(crate) fn client_tools(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("python-client-tools");
    install(&folder, &PYTHON_CLIENT_TOOLS)?;
    Ok(folder.join("bin/python"))
}

/// `pip install` in an existing environment.
pub(crate) fn pip(folder: &Path) -> Command {
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    pip
}

fn has_venv() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import ensurepip, venv"]);
    python.stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}
