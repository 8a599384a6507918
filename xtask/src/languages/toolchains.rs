//! The compilers of the plugin languages, installed below the target directory.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::npm;
use crate::pins::{NODE_COMPILERS, PYTHON_COMPILERS};
use crate::python;
use crate::workspace::{Workspace, path_directories};

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
        npm::install(&node, &NODE_COMPILERS)?;
        Ok(Self {
            programs: [python.join("bin"), node.join("node_modules/.bin")],
        })
    }

    /// The PATH with these compilers first.
    pub(super) fn path(&self) -> Result<OsString> {
        std::env::join_paths(self.programs.iter().cloned().chain(path_directories())).context("make a PATH")
    }
}
