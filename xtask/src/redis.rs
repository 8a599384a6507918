//! The program of a Redis or Valkey server. Each test that needs one starts its own, because it stops and pauses it.
//! The program is the one in `MEED_TEST_REDIS_SERVER`, or on the PATH, or installed by the package manager.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::package::Package;
use crate::process::step;
use crate::workspace::find_on_path;

/// Names the program of a server.
const PROGRAM: &str = "MEED_TEST_REDIS_SERVER";

/// Both work.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

const PACKAGE: Package = Package {
    name: "Redis",
    scripts: &[
        (
            "apt-get",
            // Without the mask, the package starts a server.
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
    let named = std::env::var_os(PROGRAM).map(PathBuf::from);
    named.or_else(|| PROGRAMS.into_iter().find_map(find_on_path))
}
