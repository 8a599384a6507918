//! `cargo xtask spark`: runs `contrib/spark` on a real Spark of two workers, and compares its report with the built-in one.
//!
//! Not part of `test`: pyspark is half a gigabyte, and Spark needs a Java runtime and a minute to start.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::package::Package;
use crate::pins::SPARK;
use crate::process::{run as run_program, step};
use crate::python;
use crate::test::{FEATURES, Services};
use crate::workspace::Workspace;

const JAVA: Package = Package {
    name: "a Java runtime",
    scripts: &[
        (
            "apt-get",
            "export DEBIAN_FRONTEND=noninteractive && apt-get update && \
             apt-get install -y --no-install-recommends openjdk-17-jre-headless",
        ),
        ("dnf", "dnf install -y java-17-openjdk-headless"),
        ("apk", "apk add --no-cache openjdk17-jre-headless"),
        ("brew", "brew install openjdk@17"),
    ],
    by_hand: "install Java 17 or newer by hand and try again",
};

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    if !has_java() {
        JAVA.install()?;
    }
    let folder = workspace.target.join("spark");
    python::install(&folder, &SPARK)?;
    let services = Services::start(workspace)?;
    step("backtests on Spark", || {
        let mut test = workspace.cargo("test");
        services.describe(&mut test);
        test.env("MEED_TEST_SPARK", folder.join("bin/python"));
        test.args(["--package", "meed", "--test", "it"]).args(FEATURES);
        run_program(test.args(["--", "--ignored", "--test-threads", "1", "cli::parts::spark"]))
    })
}

fn has_java() -> bool {
    let mut java = Command::new("java");
    java.arg("-version").stdout(Stdio::null()).stderr(Stdio::null());
    java.status().is_ok_and(|status| status.success())
}
