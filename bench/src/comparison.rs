//! One benchmark run: all rows of Meed, and the rows of other engines, interleaved.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::Context as _;
use meed_host::sandbox::{COMPILE_WORKER, Sandbox, Settings, compile_worker, engine_to_measure};
use wasmtime::Engine;

use crate::harness::{Row, measure};
use crate::rules::{self, DAYS, LOGIN_STREAK, Rule};
use crate::{cache, floor, reused, sandboxed, table, threads};

const NATIVE: &str = "native Rust: login-streak";

/// The input for rows of other engines.
pub struct Ours {
    /// `login-streak` with seven days, five of them done.
    pub login_streak: Rc<Rule>,
    /// The sandbox's engine, for rows that must use the same configuration.
    pub engine: Engine,
}

/// The main function of a comparing program. The rows of `others` are measured in the same run. A command line argument
/// selects the rows whose names contain it, for use with a profiler.
pub fn compare(others: impl FnOnce(&Ours) -> anyhow::Result<Vec<Row>>) -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let only = arguments.next();
    if only.as_deref() == Some(COMPILE_WORKER) {
        return Ok(compile_worker(arguments));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let runtime = Rc::new(runtime);
    let settings = Settings {
        language_runtimes: true,
        ..Settings::default()
    };
    let sandbox = Sandbox::new(&settings, std::env::current_exe()?, None)?;
    let engine = engine_to_measure(&settings)?;

    let plugins =
        directory("MEED_TEST_PLUGINS").context("run it with `cargo xtask bench`, which builds the plugins")?;
    let mut rules = Vec::new();
    for module in modules(&plugins)? {
        rules.push(Rc::new(runtime.block_on(Rule::load(&sandbox, &module))?));
    }
    let login_streak = rules
        .iter()
        .find(|rule| rule.name == LOGIN_STREAK)
        .map(Rc::clone)
        .with_context(|| format!("find {LOGIN_STREAK}.wasm in {}", plugins.display()))?;
    if let Some(languages) = directory("MEED_TEST_LANGUAGES") {
        for module in modules(&languages)? {
            match runtime.block_on(Rule::load(&sandbox, &module)) {
                Ok(rule) => rules.push(Rc::new(rule)),
                Err(error) => println!("{} is not measured: {error:#}", module.display()),
            }
        }
    }

    let mut rows = vec![native(&login_streak)];
    for rule in &rules {
        rows.push(sandboxed::fresh(&runtime, &sandbox, rule));
    }
    let all = only.as_deref().unwrap_or("plugins in turn") == "plugins in turn";
    let ready = all
        .then(|| runtime.block_on(cache::readiness(&settings, &login_streak.bytes)))
        .transpose()?;
    if let Some(ready) = &ready {
        rows.extend(cache::in_turn(&runtime, ready, &login_streak));
    }
    for rule in &rules {
        rows.push(reused::reused(&engine, rule)?);
    }
    rows.extend(floor::rows(&engine)?);
    rows.push(reused::instantiated(&engine, &login_streak)?);
    rows.extend(others(&Ours {
        login_streak: Rc::clone(&login_streak),
        engine,
    })?);

    if let Some(only) = &only {
        rows.retain(|row| row.name.contains(only));
    }
    let measured = measure(rows);
    println!("{}", table::render(&measured, NATIVE, &sandboxed::name(LOGIN_STREAK)));

    if let Some(ready) = ready {
        println!("{}", threads::one_and_two(&sandbox, &login_streak)?);
        println!("{ready}");
    }
    Ok(ExitCode::SUCCESS)
}

fn native(login_streak: &Rc<Rule>) -> Row {
    let rule = Rc::clone(login_streak);
    Row::new(NATIVE, move |samples| {
        samples.take(|| rules::login_streak(std::hint::black_box(DAYS), &rule.context, &rule.facts));
    })
}

/// All modules of a directory, by name.
fn modules(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut modules: Vec<PathBuf> = std::fs::read_dir(directory)
        .with_context(|| format!("read {}", directory.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    modules.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    modules.sort();
    Ok(modules)
}

/// The directory in an environment variable that `cargo xtask bench` sets.
#[expect(
    clippy::disallowed_methods,
    reason = "a separate program without the host's settings"
)]
pub fn directory(variable: &str) -> Option<PathBuf> {
    std::env::var(variable).ok().map(PathBuf::from)
}
