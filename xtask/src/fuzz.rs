//! `cargo xtask fuzz`: random hostile input. The default is a short run without instrumentation, built like the tests.
//! `--long` uses cargo-fuzz, which follows the branches that an input takes and runs for hours.

use std::ffi::OsString;

use anyhow::{Context as _, Result, bail};

use crate::pins::CARGO_FUZZ;
use crate::process::{output, run as run_program, step};
use crate::test::PROFILE;
use crate::workspace::Workspace;

const TARGETS: [&str; 4] = ["prescan", "decision", "gate", "params"];

pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let long = arguments.iter().any(|argument| argument == "--long");
    let numbers: Vec<_> = arguments.iter().filter(|argument| *argument != "--long").collect();
    let seconds = match numbers[..] {
        [] => "20",
        [seconds] => seconds.to_str().context("SECONDS must be a number")?,
        _ => bail!("cargo xtask fuzz [SECONDS] [--long]"),
    };
    step("build the targets", || {
        run_program(
            workspace
                .cargo("build")
                .args(["--package", "fuzz-targets"])
                .args(HOST_FEATURES)
                .args(PROFILE),
        )
    })?;
    if long {
        return instrumented(workspace, seconds);
    }
    step("fuzz", || {
        let mut cargo = workspace.cargo("run");
        cargo
            .args(["--quiet", "--package", "fuzz-targets"])
            .args(HOST_FEATURES)
            .args(PROFILE);
        run_program(cargo.args(["--", seconds]))
    })
}

/// The features of the host that the tests ask for, so that it is built once.
const HOST_FEATURES: [&str; 2] = ["--features", "meed-host/grpc,meed-host/kafka,meed-host/otel"];

/// With libFuzzer. `RUSTC_BOOTSTRAP` allows the nightly options that cargo-fuzz passes to the stable compiler.
fn instrumented(workspace: &Workspace, seconds: &str) -> Result<()> {
    let has_cargo_fuzz =
        output(workspace.bare_cargo("fuzz").arg("--version")).is_ok_and(|version| version.contains(CARGO_FUZZ));
    if !has_cargo_fuzz {
        step("install cargo-fuzz", || {
            let mut install = workspace.bare_cargo("install");
            run_program(install.args(["cargo-fuzz", "--version", CARGO_FUZZ, "--locked", "--force"]))
        })?;
    }
    let compiler = workspace.programs.join("fuzz-targets");
    for target in TARGETS {
        step(target, || {
            let mut fuzz = workspace.bare_cargo("fuzz");
            fuzz.args(["run", "--dev", "--sanitizer", "none", target]);
            // New inputs go to the first folder, which git ignores; the second holds the seeds.
            let corpus = workspace.root.join("fuzz/corpus").join(target);
            std::fs::create_dir_all(&corpus).with_context(|| format!("make {}", corpus.display()))?;
            fuzz.arg(corpus).arg(workspace.root.join("fuzz/seeds").join(target));
            fuzz.args([
                "--",
                &format!("-max_total_time={seconds}"),
                "-timeout=10",
                "-rss_limit_mb=4096",
            ]);
            fuzz.env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_DIR", workspace.target.join("fuzz"))
                .env("MEED_FUZZ_COMPILER", &compiler);
            run_program(fuzz.current_dir(&workspace.root))
        })?;
    }
    Ok(())
}
