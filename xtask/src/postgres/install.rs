//! Installing the PostgreSQL server through the package manager that is there.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use rustix::process::geteuid;

use crate::process::run;
use crate::workspace::is_on_path;

struct Manager {
    program: &'static str,
    script: &'static str,
    needs_root: bool,
}

const MANAGERS: [Manager; 4] = [
    Manager {
        program: "apt-get",
        // The package makes and starts a server of its own, unless this file tells it not to.
        script: "export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 && \
                 conf=/etc/postgresql-common/createcluster.conf && \
                 mkdir -p /etc/postgresql-common && \
                 { [ -e $conf ] || echo 'create_main_cluster = false' > $conf; } && \
                 apt-get update && apt-get install -y --no-install-recommends postgresql",
        needs_root: true,
    },
    Manager {
        program: "dnf",
        script: "dnf install -y postgresql-server",
        needs_root: true,
    },
    Manager {
        program: "apk",
        script: "apk add --no-cache postgresql",
        needs_root: true,
    },
    Manager {
        program: "brew",
        script: "brew install postgresql@17",
        needs_root: false,
    },
];

const BY_HAND: &str = "install the PostgreSQL server (initdb, postgres and pg_ctl) by hand and try again";

pub(super) fn install() -> Result<()> {
    let manager = MANAGERS.iter().find(|manager| is_on_path(manager.program));
    let Some(manager) = manager else {
        let known = MANAGERS.map(|manager| manager.program).join(", ");
        bail!("the tests need PostgreSQL, and there is none of {known} to install it with; {BY_HAND}");
    };
    let mut command = if manager.needs_root && !geteuid().is_root() {
        if !is_on_path("sudo") {
            bail!(
                "the tests need PostgreSQL; `{}` can install it only as root, and there is no sudo; {BY_HAND}",
                manager.program
            );
        }
        let mut sudo = Command::new("sudo");
        sudo.arg("sh");
        sudo
    } else {
        Command::new("sh")
    };
    run(command.args(["-c", manager.script]))
        .with_context(|| format!("install PostgreSQL with {}; {BY_HAND}", manager.program))
}
