//! `cargo xtask test`: provides what the tests need, then runs all of them. A missing service fails the run. Only the
//! tests that need root are skipped for other users, with a message.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use rustix::process::geteuid;

use crate::broker;
use crate::console;
use crate::languages;
use crate::npm;
use crate::plugins;
use crate::postgres::{self, Postgres};
use crate::process::{check, line, run as run_program, step, wait};
use crate::python;
use crate::redis;
use crate::smtp;
use crate::workspace::Workspace;

/// Every command builds with these, so that everything is built once.
pub(crate) const FEATURES: [&str; 2] = ["--features", "meed/grpc,meed/kafka,meed/otel"];

/// Builds with the profile of tests, so that the tests and this share what is built. `cargo test` uses it by default.
pub(crate) const PROFILE: [&str; 2] = ["--profile", "test"];

/// The tests that mount a small disk, which only root may.
const ROOT_TESTS: &str = "faults::disk::";

/// The setting of the test runner for the tests that run at the same time.
const THREADS: &str = "NEXTEST_TEST_THREADS";

/// Tests wait for databases, processes and time-outs as long as they compute, so twice as many run as there are cores.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// `arguments` go to the test runner; with any, only what they select runs.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let services = Services::start(workspace)?;
    let languages = languages::build(workspace)?;
    // Before the runner, so that its closing line is the last thing on the screen.
    if arguments.is_empty() {
        step("build the tests", || {
            run_program(workspace.cargo("test").args(["--workspace", "--no-run"]).args(FEATURES))
        })?;
    }
    let has_nextest = has_nextest(workspace);
    let prepare = |command: &mut Command| {
        services.describe(command);
        command.env("MEED_TEST_LANGUAGES", &languages);
    };
    if arguments.is_empty() {
        if has_nextest {
            step("documentation tests", || {
                let mut doc = workspace.cargo("test");
                prepare(&mut doc);
                run_program(doc.args(["--workspace", "--doc", "--quiet"]).args(FEATURES))
            })?;
        }
        if geteuid().is_root() {
            step("tests that need root", || root_tests(workspace, &services))?;
        } else {
            println!("skipped: the tests {ROOT_TESTS}* need root; run them with `sudo -E cargo xtask test-root`");
        }
    }
    step("tests", || {
        if has_nextest {
            let mut nextest = workspace.bare_cargo("nextest");
            nextest.args(["run", "--locked"]);
            if std::env::var_os("CI").is_some() {
                nextest.args(["--profile", "ci"]);
            }
            if std::env::var_os(THREADS).is_none() {
                nextest.env(THREADS, (2 * cores()).to_string());
            }
            prepare(&mut nextest);
            select(&mut nextest, arguments);
            run_program(&mut nextest)
        } else {
            println!("cargo-nextest is not installed, so `cargo test` runs the test binaries one after the other");
            let mut test = workspace.cargo("test");
            test.arg("--no-fail-fast");
            prepare(&mut test);
            select(&mut test, arguments);
            run_and_sum_up(&mut test)
        }
    })
}

/// `cargo xtask test-root`: only the tests that need root.
pub(crate) fn run_as_root(workspace: &Workspace) -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "the tests {ROOT_TESTS}* mount a small disk and need root; run `sudo -E cargo xtask test-root`"
    );
    let services = Services::start(workspace)?;
    step("tests that need root", || root_tests(workspace, &services))
}

fn root_tests(workspace: &Workspace, services: &Services) -> Result<()> {
    let mut test = workspace.cargo("test");
    services.describe(&mut test);
    test.args(["--workspace", "--test", "it"]).args(FEATURES);
    run_program(test.args(["--", "--ignored", "--test-threads", "1", ROOT_TESTS]))
}

fn has_nextest(workspace: &Workspace) -> bool {
    let mut nextest = workspace.bare_cargo("nextest");
    nextest.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    nextest.status().is_ok_and(|status| status.success())
}

/// What tests need besides the build. A contributor's own service is used when an environment variable names it.
pub(crate) struct Services {
    postgres: Postgres,
    redis: PathBuf,
    broker: PathBuf,
    smtp: PathBuf,
    browser: PathBuf,
    plugins: PathBuf,
    client_tools: PathBuf,
    python_client_tools: PathBuf,
}

impl Services {
    pub(crate) fn start(workspace: &Workspace) -> Result<Self> {
        console::build(workspace)?;
        Ok(Self {
            redis: redis::find_or_install()?,
            broker: broker::find_or_install(workspace)?,
            smtp: smtp::find_or_install(workspace)?,
            browser: console::find_or_install_browser()?,
            plugins: plugins::build(workspace)?,
            client_tools: npm::client_tools(workspace)?,
            python_client_tools: python::client_tools(workspace)?,
            postgres: Postgres::find_or_start(workspace)?,
        })
    }

    /// Tells a test runner where they are.
    pub(crate) fn describe(&self, command: &mut Command) {
        postgres::clear_environment(command);
        self.postgres.describe(command);
        command
            .env("MEED_TEST_REDIS_SERVER", &self.redis)
            .env("MEED_TEST_BROKER", &self.broker)
            .env("MEED_TEST_SMTP", &self.smtp)
            .env("MEED_TEST_CHROMIUM", &self.browser)
            .env("MEED_TEST_PLUGINS", &self.plugins)
            .env("MEED_TEST_CLIENT_TOOLS", &self.client_tools)
            .env("MEED_TEST_PYTHON_CLIENT_TOOLS", &self.python_client_tools);
    }
}

/// The whole workspace, unless the arguments choose packages.
fn select(command: &mut Command, arguments: &[OsString]) {
    let texts: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    let chooses_packages = texts
        .iter()
        .any(|text| text.starts_with("-p") || text.starts_with("--package"));
    if !chooses_packages {
        command.arg("--workspace");
    }
    // The integration tests of the server are in the package of the binary.
    let chooses_host = texts.iter().any(|text| text.ends_with("meed-host"));
    if chooses_host {
        command.args(["-p", "meed"]);
    }
    // Cargo refuses a feature of a package that is not chosen.
    if !chooses_packages || chooses_host || texts.iter().any(|text| text.ends_with("meed")) {
        command.args(FEATURES);
    }
    command.args(arguments);
}

/// `cargo test` prints one summary per test binary; this adds them up.
fn run_and_sum_up(command: &mut Command) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", line(command)))?;
    let output = child.stdout.take().context("read what the tests print")?;
    let reader = thread::spawn(move || {
        let mut sum = Sum::default();
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("{line}");
            sum.add(&line);
        }
        sum
    });
    let status = wait(child);
    if let Ok(Sum {
        passed,
        failed,
        ignored,
    }) = reader.join()
    {
        println!("test result: {passed} passed; {failed} failed; {ignored} ignored in all");
    }
    check(command, status?)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Sum {
    /// Takes `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`; other lines do not count.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let words: Vec<_> = result.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let number = pair[0].parse().unwrap_or(0);
            match pair[1] {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_of_all_binaries_add_up() {
        let mut sum = Sum::default();
        sum.add("running 4 tests");
        sum.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        sum.add("test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.00s");
        assert_eq!(
            sum,
            Sum {
                passed: 13,
                failed: 2,
                ignored: 1
            }
        );
    }

    #[test]
    fn the_whole_workspace_runs_unless_packages_are_named() {
        let arguments = |given: &[&str]| {
            let mut command = Command::new("cargo");
            select(&mut command, &given.iter().map(OsString::from).collect::<Vec<_>>());
            line(&command)
        };
        let features = FEATURES.join(" ");
        assert_eq!(arguments(&[]), format!("`cargo --workspace {features}`"));
        assert_eq!(arguments(&["claims"]), format!("`cargo --workspace {features} claims`"));
        assert_eq!(arguments(&["-p", "xtask"]), "`cargo -p xtask`");
        assert_eq!(arguments(&["-p", "meed"]), format!("`cargo {features} -p meed`"));
        assert_eq!(
            arguments(&["-p", "meed-host"]),
            format!("`cargo -p meed {features} -p meed-host`")
        );
    }
}
