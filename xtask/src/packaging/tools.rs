//! The checkers of deployment files, installed below the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::package::{Package, unless_there};
use crate::pins::{CHECKERS, HELM};
use crate::process::run;
use crate::python;
use crate::workspace::{Workspace, is_on_path, path_directories};

/// Unpacks Helm: the package contains an archive, which contains an archive with the program.
const UNPACK_HELM: &str = "\
import io, pathlib, sys, tarfile, zipfile
folder = pathlib.Path(sys.argv[1])
package, = folder.glob('package/aws_cdk/*/_jsii/*.tgz')
with tarfile.open(package) as tar:
    layer = tar.extractfile('package/lib/layer.zip').read()
with zipfile.ZipFile(io.BytesIO(layer)) as archive:
    (folder / 'helm').write_bytes(archive.read('helm/helm'))
(folder / 'helm').chmod(0o755)
";
const SYSTEMD: Package = Package {
    name: "systemd-analyze",
    scripts: &[
        (
            "apt-get",
            "export DEBIAN_FRONTEND=noninteractive && apt-get update && \
             apt-get install -y --no-install-recommends systemd",
        ),
        ("dnf", "dnf install -y systemd"),
    ],
    by_hand: "install systemd by hand and try again",
};

const PROMETHEUS: Package = Package {
    name: "promtool",
    scripts: &[(
        "apt-get",
        "export DEBIAN_FRONTEND=noninteractive && apt-get update && \
         apt-get install -y --no-install-recommends prometheus",
    )],
    by_hand: "install promtool, which is part of Prometheus, by hand and try again",
};

pub(super) struct Tools {
    python: PathBuf,
    helm: PathBuf,
    /// The home directory of the tools, so that they do not write to the developer's.
    home: PathBuf,
}

impl Tools {
    /// Installs the tools that are missing or have another version.
    pub(super) fn install(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.target.join("packaging");
        let (python, helm, home) = (folder.join("python"), folder.join("helm"), folder.join("home"));
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        python::install(&python, &CHECKERS)?;
        unless_there(&helm, &HELM, || {
            let package = helm.join("package");
            // Without its dependencies, which only its library part needs.
            run(python::pip(&python)
                .args(["--no-deps", "--upgrade", "--target"])
                .arg(&package)
                .args(HELM))?;
            run(Command::new(python.join("bin/python"))
                .args(["-c", UNPACK_HELM])
                .arg(&helm))?;
            fs::remove_dir_all(&package).with_context(|| format!("remove {}", package.display()))
        })?;
        if !is_on_path("systemd-analyze") {
            SYSTEMD.install()?;
        }
        if !is_on_path("promtool") {
            PROMETHEUS.install()?;
        }
        Ok(Self { python, helm, home })
    }

    /// A command in this directory, with all tools on its PATH.
    pub(super) fn command(&self, name: &str, directory: &Path) -> Result<Command> {
        let folders = [self.python.join("bin"), self.helm.clone()];
        let program = folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|program| program.is_file())
            .unwrap_or_else(|| name.into());
        let path = std::env::join_paths(folders.iter().cloned().chain(path_directories())).context("make a PATH")?;
        let mut command = Command::new(program);
        command
            .current_dir(directory)
            .env("PATH", path)
            .env("HOME", &self.home)
            .env("ANSIBLE_HOME", self.home.join("ansible"))
            .env("NO_COLOR", "1");
        Ok(command)
    }
}
