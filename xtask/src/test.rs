//! `cargo xtask test`: everything that tests need, then all of them. A missing service fails the run; nothing is skipped.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result};

use crate::broker;
use crate::languages;
use crate::plugins;
use crate::postgres::{self, Cluster, Durability, Server};
use crate::process::{check, line, run as run_program, step, wait};
use crate::redis;
use crate::workspace::Workspace;

/// Everything is built with it, so that it is built once.
pub(crate) const FEATURES: [&str; 2] = ["--features", "meed-host/kafka,meed-host/otel"];

/// `arguments` are for the runner; with any, only what they select runs.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let server = Server::find_or_install()?;
    let redis = redis::find_or_install()?;
    let broker = broker::find_or_install(workspace)?;
    let plugins = plugins::build(workspace)?;
    let languages = languages::build(workspace)?;
    // Before the runner, so that its closing line is the last thing on the screen.
    if arguments.is_empty() {
        step("build the tests", || {
            run_program(workspace.cargo("test").args(["--workspace", "--no-run"]).args(FEATURES))
        })?;
    }
    let cluster = step("start PostgreSQL", || {
        Cluster::start(server, &workspace.target, Durability::None)
    })?;
    let services = Services {
        cluster,
        redis,
        broker,
        plugins,
        languages,
    };
    let has_nextest = has_nextest(workspace);
    if has_nextest && arguments.is_empty() {
        step("documentation tests", || {
            let mut doc = workspace.cargo("test");
            run_program(
                services
                    .tell(&mut doc)
                    .args(["--workspace", "--doc", "--quiet"])
                    .args(FEATURES),
            )
        })?;
    }
    step("tests", || {
        if has_nextest {
            let mut nextest = workspace.bare_cargo("nextest");
            nextest.args(["run", "--locked"]);
            if std::env::var_os("CI").is_some() {
                nextest.args(["--profile", "ci"]);
            }
            select(services.tell(&mut nextest), arguments);
            run_program(&mut nextest)
        } else {
            println!("cargo-nextest is not installed, so `cargo test` runs the tests, one after the other binary");
            let mut test = workspace.cargo("test");
            test.arg("--no-fail-fast");
            select(services.tell(&mut test), arguments);
            run_and_sum_up(&mut test)
        }
    })
}

fn has_nextest(workspace: &Workspace) -> bool {
    let mut nextest = workspace.bare_cargo("nextest");
    nextest.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    nextest.status().is_ok_and(|status| status.success())
}

/// Where the tests find what they need.
struct Services {
    cluster: Cluster,
    redis: PathBuf,
    broker: PathBuf,
    plugins: PathBuf,
    languages: PathBuf,
}

impl Services {
    fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        postgres::clear_environment(command);
        self.cluster.tell(command);
        command
            .env("MEED_TEST_REDIS_SERVER", &self.redis)
            .env("MEED_TEST_BROKER", &self.broker)
            .env("MEED_TEST_PLUGINS", &self.plugins)
            .env("MEED_TEST_LANGUAGES", &self.languages)
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
    // Cargo refuses a feature of a package that is not chosen.
    if !chooses_packages || texts.iter().any(|text| text.ends_with("meed-host")) {
        command.args(FEATURES);
    }
    command.args(arguments);
}

/// `cargo test` closes every binary with a line of its own; this adds them up.
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
        let kafka = "--features meed-host/kafka,meed-host/otel";
        assert_eq!(arguments(&[]), format!("`cargo --workspace {kafka}`"));
        assert_eq!(arguments(&["claims"]), format!("`cargo --workspace {kafka} claims`"));
        assert_eq!(arguments(&["-p", "xtask"]), "`cargo -p xtask`");
        assert_eq!(arguments(&["-p", "meed-host"]), format!("`cargo {kafka} -p meed-host`"));
    }
}
