//! `cargo xtask mutations`: switches on each known bug of `host/src/mutations/table.rs` and requires that its tests
//! fail.
//!
//! One build with the cargo feature `mutations` contains all of them; `MEED_MUTATION` selects one per run.

#[path = "../../host/src/mutations/table.rs"]
mod table;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use crate::process::{line, run as run_program, status, step};
use crate::test::{FEATURES, Services};
use crate::workspace::{Workspace, is_on_path};
use table::{ALL, Mutation, Test};

/// The exit code of nextest when tests failed and nothing else did.
const TESTS_FAILED: i32 = 100;

/// `wanted` names mutations; empty means all.
pub(crate) fn run(workspace: &Workspace, wanted: &[OsString]) -> Result<()> {
    ensure!(
        is_on_path("cargo-nextest"),
        "`cargo xtask mutations` needs cargo-nextest; install it with `cargo install cargo-nextest --locked`"
    );
    for name in wanted {
        ensure!(
            ALL.iter().any(|mutation| *name == *mutation.name),
            "there is no mutation `{}`; host/src/mutations/table.rs lists them",
            name.display()
        );
    }
    let mutations: Vec<&Mutation> = ALL
        .iter()
        .filter(|mutation| wanted.is_empty() || wanted.iter().any(|name| *name == *mutation.name))
        .collect();
    let services = Services::start(workspace)?;
    let runner = Runner { workspace, services };
    step("build the tests with mutations", || {
        run_program(runner.nextest().args(["--no-run", "--cargo-quiet"]))
    })?;
    step("the tests pass without a mutation", || runner.pass_without(&mutations))?;
    let mut table = String::new();
    let mut missed = 0;
    for mutation in mutations {
        step(&format!("{}: {}", mutation.name, mutation.bug), || {
            for test in mutation.found_by.iter().flat_map(Test::names) {
                let started = Instant::now();
                let found = runner.fails(mutation, &test)?;
                missed += usize::from(!found);
                let verdict = if found { "found" } else { "MISSED" };
                let seconds = started.elapsed().as_secs_f64();
                writeln!(table, "{verdict:6} {:33} {seconds:5.1} s  {test}", mutation.name)?;
            }
            Ok(())
        })?;
    }
    print!("\n{table}");
    ensure!(
        missed == 0,
        "the tests missed {missed} mutations; see the lines `MISSED`"
    );
    Ok(())
}

struct Runner<'a> {
    workspace: &'a Workspace,
    services: Services,
}

impl Runner<'_> {
    /// A test that fails anyway proves nothing.
    fn pass_without(&self, mutations: &[&Mutation]) -> Result<()> {
        let mut names: Vec<_> = mutations
            .iter()
            .flat_map(|mutation| mutation.found_by)
            .flat_map(Test::names)
            .collect();
        names.sort();
        names.dedup();
        let filter: Vec<_> = names.iter().map(|name| format!("test(={name})")).collect();
        let mut nextest = self.nextest();
        nextest
            .args(["--cargo-quiet", "--no-fail-fast", "-E"])
            .arg(filter.join(" | "));
        run_program(&mut nextest)
    }

    fn fails(&self, mutation: &Mutation, test: &str) -> Result<bool> {
        let mut nextest = self.nextest();
        nextest.args(["--cargo-quiet", "--failure-output", "never", "--status-level", "fail"]);
        nextest.args(["--no-tests", "fail", "-E"]).arg(format!("test(={test})"));
        let status = status(nextest.env("MEED_MUTATION", mutation.name))?;
        match status.code() {
            Some(0) => Ok(false),
            Some(TESTS_FAILED) => Ok(true),
            _ => bail!("{} ended with {status}", line(&nextest)),
        }
    }

    fn nextest(&self) -> Command {
        let mut nextest = self.workspace.bare_cargo("nextest");
        nextest.args(["run", "--locked", "--workspace", "--test", "it"]);
        nextest.args(FEATURES).args(["--features", "meed/mutations"]);
        self.services.describe(&mut nextest);
        nextest.env_remove("MEED_MUTATION");
        nextest
    }
}
