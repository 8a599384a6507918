//! `cargo xtask console`: builds the console into `console/dist/www`, which the next build of the server embeds. And the
//! browser in which it is tested.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::npm;
use crate::package::Package;
use crate::process::{run as run_program, step};
use crate::workspace::{Workspace, find_on_path, is_on_path};

/// Names the program of a Chromium.
const BROWSER: &str = "MEED_TEST_CHROMIUM";
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// With a font that has Korean, for the screenshots.
const CHROMIUM: Package = Package {
    name: "Chromium",
    scripts: &[
        (
            "apt-get",
            "export DEBIAN_FRONTEND=noninteractive && apt-get update && \
             apt-get install -y --no-install-recommends chromium fonts-noto-cjk",
        ),
        ("dnf", "dnf install -y chromium google-noto-sans-cjk-fonts"),
        ("apk", "apk add --no-cache chromium font-noto-cjk"),
    ],
    by_hand: "install Chromium by hand and try again, or name its program in MEED_TEST_CHROMIUM",
};

/// Installs exactly the packages of the lock file, generates the types of the API, checks and builds. A build that changes
/// nothing leaves the files alone, so that the server is not compiled again.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    npm::require()?;
    let folder = workspace.root.join("console");
    let (lock, installed) = (
        folder.join("package-lock.json"),
        folder.join("node_modules/installed-lock.json"),
    );
    let wanted = fs::read(&lock).with_context(|| format!("read {}", lock.display()))?;
    let npm = |arguments: &[&str]| run_program(Command::new("npm").current_dir(&folder).args(arguments));
    if !fs::read(&installed).is_ok_and(|found| found == wanted) {
        step("install the packages of the console", || {
            npm(&["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
                .context("install from npm, which needs the network once")
        })?;
        fs::write(&installed, wanted).with_context(|| format!("write {}", installed.display()))?;
    }
    step("build the console", || {
        for script in ["types", "check", "build"] {
            npm(&["run", "--silent", script])?;
        }
        Ok(())
    })
}

/// The same, where npm is there. Otherwise the server says that it has no console.
pub(crate) fn build_if_possible(workspace: &Workspace) -> Result<()> {
    if is_on_path("npm") {
        return build(workspace);
    }
    println!("npm is not on the PATH, so this server has no console; `cargo xtask console` installs npm and builds it");
    Ok(())
}

/// The browser of the tests: the program in `MEED_TEST_CHROMIUM`, one on the PATH, or one that is installed now.
pub(crate) fn find_or_install_browser() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os(BROWSER) {
        return Ok(program.into());
    }
    let find = || BROWSERS.iter().find_map(|name| find_on_path(name));
    if let Some(known) = find() {
        return Ok(known);
    }
    CHROMIUM.install()?;
    find().context("Chromium was installed, but it is not on the PATH; name its program in MEED_TEST_CHROMIUM")
}
