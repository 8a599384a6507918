//! The program of a Redis or Valkey server for the tests, which each start one of their own.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::package::Package;
use crate::process::step;
use crate::workspace::path_directories;

/// Either does; what is installed comes first.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

const PACKAGE: Package = Package {
    name: "Redis, which the tests need,",
    scripts: &[
        (
            "apt-get",
            // The package starts a server of its own, unless it is told not to.
            "export DEBIAN_FRONTEND=noninteractive && \
             { [ ! -d /run/systemd/system ] || systemctl mask --runtime redis-server.service; } && \
             apt-get update && apt-get install -y --no-install-recommends redis-server",
        ),
        ("dnf", "dnf install -y redis || dnf install -y valkey"),
        ("apk", "apk add --no-cache redis || apk add --no-cache valkey"),
        ("brew", "brew install redis"),
    ],
    by_hand: "install a Redis server (redis-server or valkey-server) by hand and try again",
};

pub(crate) fn find_or_install() -> Result<PathBuf> {
    if find().is_none() {
        step("install Redis", || PACKAGE.install())?;
    }
    find().context(
        "Redis was installed, but neither redis-server nor valkey-server is on the PATH; put its directory there",
    )
}

fn find() -> Option<PathBuf> {
    let directories: Vec<_> = path_directories().collect();
    PROGRAMS
        .iter()
        .flat_map(|program| directories.iter().map(move |directory| directory.join(program)))
        .find(|program| program.is_file())
}
