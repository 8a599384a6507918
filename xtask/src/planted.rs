//! `cargo xtask planted`: plants each known bug of `host/tests/planted` in a copy of the sources, and demands that the
//! tests which the patch names fail. A check that cannot fail is worth nothing.
//!
//! The copy has a target directory of its own, so the first run builds everything once more.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::broker;
use crate::plugins;
use crate::postgres::{self, Cluster, Durability, Server};
use crate::process::{line, run as run_program, status, step};
use crate::redis;
use crate::test::FEATURES;
use crate::workspace::{Workspace, is_on_path};

/// What nextest ends with when tests failed, and nothing else did.
const TESTS_FAILED: i32 = 100;

/// A bug that was made on purpose.
struct Planted {
    name: String,
    patch: PathBuf,
    /// Every one of these tests must fail.
    found_by: Vec<String>,
}

/// `wanted`: names of patches; all without one.
pub(crate) fn run(workspace: &Workspace, wanted: &[OsString]) -> Result<()> {
    for program in ["git", "cargo-nextest"] {
        ensure!(
            is_on_path(program),
            "{program} is not on the PATH; install it, it is needed here"
        );
    }
    let bugs = planted(&workspace.root.join("host/tests/planted"), wanted)?;
    let server = Server::find_or_install()?;
    let redis = redis::find_or_install()?;
    let broker = broker::find_or_install(workspace)?;
    let plugins = plugins::build(workspace)?;
    let cluster = step("start PostgreSQL", || {
        Cluster::start(server, &workspace.target, Durability::None)
    })?;
    let garden = Garden {
        root: workspace.target.join("planted/tree"),
        target: workspace.target.join("planted/target"),
        source: workspace.root.clone(),
        cluster,
        redis,
        broker,
        plugins,
    };
    garden.restore()?;
    let named: BTreeSet<&str> = bugs.iter().flat_map(|bug| &bug.found_by).map(String::as_str).collect();
    step("the tests pass without a bug", || {
        garden.build()?;
        for test in &named {
            ensure!(
                !garden.fails(test)?,
                "{test} fails without any bug planted; mend that first"
            );
        }
        Ok(())
    })?;
    let mut table = String::new();
    let mut missed = 0;
    for bug in &bugs {
        step(&bug.name, || {
            garden.restore()?;
            garden.plant(bug)?;
            garden.build()?;
            for test in &bug.found_by {
                let started = Instant::now();
                let verdict = if garden.fails(test)? { "found" } else { "MISSED" };
                missed += usize::from(verdict == "MISSED");
                let seconds = started.elapsed().as_secs();
                writeln!(table, "{verdict:7} {:32} {seconds:4} s  {test}", bug.name)?;
            }
            Ok(())
        })?;
    }
    garden.restore()?;
    print!("\n{table}");
    ensure!(missed == 0, "{missed} planted bugs were missed");
    Ok(())
}

fn planted(folder: &Path, wanted: &[OsString]) -> Result<Vec<Planted>> {
    let mut bugs = Vec::new();
    for file in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let patch = file?.path();
        let (Some(name), true) = (patch.file_stem(), patch.extension().is_some_and(|end| end == "patch")) else {
            continue;
        };
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let text = fs::read_to_string(&patch).with_context(|| format!("read {}", patch.display()))?;
        bugs.push(Planted {
            name: name.to_string_lossy().into_owned(),
            found_by: text
                .lines()
                .filter_map(|line| line.strip_prefix("Found by: "))
                .map(str::to_owned)
                .collect(),
            patch,
        });
    }
    if bugs.is_empty() {
        bail!("there is no such patch in {}", folder.display());
    }
    bugs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(bugs)
}

/// A copy of the sources, where bugs are planted.
struct Garden {
    root: PathBuf,
    target: PathBuf,
    source: PathBuf,
    cluster: Cluster,
    redis: PathBuf,
    broker: PathBuf,
    plugins: PathBuf,
}

impl Garden {
    /// Makes the copy what the sources are. Files that are the same already are not touched, so that cargo builds little.
    fn restore(&self) -> Result<()> {
        copy(&self.source, &self.root)
    }

    fn plant(&self, bug: &Planted) -> Result<()> {
        let mut apply = Command::new("git");
        apply.arg("apply").arg(&bug.patch).current_dir(&self.root);
        // The copy is no part of the repository around it.
        apply.env("GIT_CEILING_DIRECTORIES", self.root.parent().unwrap_or(&self.root));
        run_program(&mut apply)
    }

    fn build(&self) -> Result<()> {
        run_program(self.nextest().args(["--no-run", "--cargo-quiet"]))
    }

    fn fails(&self, test: &str) -> Result<bool> {
        let mut nextest = self.nextest();
        nextest.args(["--cargo-quiet", "--failure-output", "never", "--status-level", "fail"]);
        nextest.args(["--no-tests", "fail", "-E"]).arg(format!("test(={test})"));
        let status = status(&mut nextest)?;
        match status.code() {
            Some(0) => Ok(false),
            Some(TESTS_FAILED) => Ok(true),
            _ => bail!("{} ended with {status}", line(&nextest)),
        }
    }

    fn nextest(&self) -> Command {
        let mut nextest = Command::new("cargo");
        postgres::clear_environment(&mut nextest);
        self.cluster.tell(&mut nextest);
        nextest
            .args(["nextest", "run", "--workspace", "--test", "it", "--locked"])
            .args(FEATURES)
            .current_dir(&self.root)
            .env("MEED_TEST_REDIS_SERVER", &self.redis)
            .env("MEED_TEST_BROKER", &self.broker)
            .env("MEED_TEST_PLUGINS", &self.plugins)
            .env("CARGO_TARGET_DIR", &self.target)
            .env_remove("CARGO_MANIFEST_DIR");
        nextest
    }
}

/// Makes `to` the same as `from`, but for what is built and what belongs to the repository.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    let mut kept = BTreeSet::new();
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if name == "target" || name == ".git" || !(kind.is_dir() || kind.is_file()) {
            continue;
        }
        let (source, copied) = (entry.path(), to.join(&name));
        if kind.is_dir() {
            copy(&source, &copied)?;
        } else {
            let content = fs::read(&source).with_context(|| format!("read {}", source.display()))?;
            if fs::read(&copied).ok().as_ref() != Some(&content) {
                fs::write(&copied, content).with_context(|| format!("write {}", copied.display()))?;
            }
        }
        kept.insert(name);
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if kept.contains(&entry.file_name()) || entry.file_name() == "target" {
            continue;
        }
        let gone = entry.path();
        let removed = if entry.file_type()?.is_dir() {
            fs::remove_dir_all(&gone)
        } else {
            fs::remove_file(&gone)
        };
        removed.with_context(|| format!("remove {}", gone.display()))?;
    }
    Ok(())
}
