//! The compilers of the plugin languages, installed below the target directory.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::package::{Package, unless_there};
use crate::pins::{NODE_COMPILERS, PYTHON_COMPILERS};
use crate::process::run;
use crate::python;
use crate::workspace::{Workspace, is_on_path, path_directories};

const NPM: Package = Package {
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

pub(super) struct Toolchains {
    programs: [PathBuf; 2],
}

impl Toolchains {
    /// Installs the compilers that are missing or have another version.
    pub(super) fn install(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.target.join("toolchains");
        let python = folder.join("python");
        let node = folder.join("node");
        python::install(&python, &PYTHON_COMPILERS)?;
        unless_there(&node, &NODE_COMPILERS, || {
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
            run(npm.arg(&node).args(NODE_COMPILERS))
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
