//! `cargo xtask languages`: creates, builds and measures a project of every template with the tools of plugin authors.
//!
//! Installs the compilers at the versions of the templates, below the target directory.

mod costs;
mod toolchains;

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::pins;
use crate::plugins;
use crate::process::{run as run_program, step};
use crate::test::FEATURES;
use crate::workspace::Workspace;
use toolchains::Toolchains;

/// The folders of `templates/`, the fastest decisions first.
const LANGUAGES: [&str; 6] = ["rust", "c", "assemblyscript", "go", "typescript", "python"];

/// The name of the plugin of every template.
const NAME: &str = "regular-shopper";

/// What a module depends on besides its template, relative to the checkout.
const INGREDIENTS: [&str; 4] = [
    "plugin-sdk",
    "author/src/build",
    "author/src/package.rs",
    "author/src/without_wasi.wat",
];

const USAGE: &str = "cargo xtask languages [--print] [--dev]";

/// A template's project, built.
struct Sample {
    language: &'static str,
    project: PathBuf,
    build_seconds: f64,
}

/// Builds and measures all samples, and writes the table to the docs or, with `--print`, to the terminal.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    if let Some(unknown) = arguments
        .iter()
        .find(|argument| **argument != *"--print" && **argument != *"--dev")
    {
        bail!("`{}` means nothing here: {USAGE}", unknown.display());
    }
    let has = |flag: &str| arguments.iter().any(|argument| *argument == *flag);
    let samples = samples(workspace, false)?;
    // Measure a release build, which is what users run.
    let meed = build_meed(workspace, !has("--dev"))?;
    for sample in &samples {
        step(&format!("test the {} sample", sample.language), || {
            run_program(with_code_cache(Command::new(&meed).args(["plugin", "test"]), workspace).arg(&sample.project))
        })?;
    }
    let rows = step("measure the samples", || {
        samples
            .iter()
            .map(|sample| costs::measure(&meed, workspace, sample))
            .collect::<Result<Vec<_>>>()
    })?;
    let mut table = costs::table(&rows);
    if has("--dev") {
        table.push_str("\nMeasured with a development build of `meed`, which is slower than a release build.\n");
    }
    if has("--print") {
        print!("{table}");
        return Ok(());
    }
    costs::write(&workspace.root.join("docs/languages.md"), &table)
}

/// For the tests: builds the modules as `LANGUAGE.wasm` and returns their folder.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    samples(workspace, true)?;
    Ok(folder(workspace))
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("languages")
}

fn samples(workspace: &Workspace, may_be_there: bool) -> Result<Vec<Sample>> {
    plugins::ensure_target(workspace)?;
    let toolchains = Toolchains::install(workspace)?;
    let meed = build_meed(workspace, false)?;
    LANGUAGES
        .iter()
        .map(|language| sample(workspace, &toolchains, &meed, language, may_be_there))
        .collect()
}

fn build_meed(workspace: &Workspace, release: bool) -> Result<PathBuf> {
    step("build meed", || {
        if release {
            let mut cargo = workspace.cargo("build");
            return run_program(cargo.args(["--package", "meed", "--bin", "meed", "--release"]));
        }
        // The command that builds the tests, so that the dependencies are built once.
        run_program(workspace.cargo("test").args(["--workspace", "--no-run"]).args(FEATURES))
    })?;
    Ok(if release {
        workspace.programs.with_file_name("release").join("meed")
    } else {
        workspace.programs.join("meed")
    })
}

/// Creates and builds a project, unless `may_be_there` and it was built from the same files before.
fn sample(
    workspace: &Workspace,
    toolchains: &Toolchains,
    meed: &Path,
    language: &'static str,
    may_be_there: bool,
) -> Result<Sample> {
    let folder = folder(workspace);
    let project = folder.join(language);
    let module = folder.join(format!("{language}.wasm"));
    let stamp = folder.join(format!("{language}.stamp"));
    let ingredients = ingredients(workspace, language)?;
    if may_be_there && module.is_file() && fs::read_to_string(&stamp).is_ok_and(|found| found == ingredients) {
        return Ok(Sample {
            language,
            project,
            build_seconds: 0.0,
        });
    }
    step(&format!("build the {language} sample"), || {
        for old in [&stamp, &module] {
            let _ = fs::remove_file(old);
        }
        if project.exists() {
            fs::remove_dir_all(&project).with_context(|| format!("remove {}", project.display()))?;
        }
        let mut new = Command::new(meed);
        new.args(["plugin", "new", NAME, "--lang", language, "--directory"])
            .arg(&project);
        run_program(&mut new)?;
        let started = Instant::now();
        let mut build = Command::new(meed);
        // The cases run from outside; with them, the code cache would treat the module as another one.
        build.args(["plugin", "build", "--without-cases"]).arg(&project);
        build.env("CARGO_TARGET_DIR", folder.join("cargo"));
        build.env("PATH", toolchains.path()?);
        run_program(&mut build)?;
        let build_seconds = started.elapsed().as_secs_f64();
        let built = project.join("build").join(format!("{NAME}.wasm"));
        fs::copy(&built, &module).with_context(|| format!("copy {}", built.display()))?;
        fs::write(&stamp, ingredients).with_context(|| format!("write {}", stamp.display()))?;
        Ok(Sample {
            language,
            project,
            build_seconds,
        })
    })
}

/// A hash of every file that the sample depends on, and of the versions of the compilers.
fn ingredients(workspace: &Workspace, language: &str) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    (pins::PYTHON_COMPILERS, pins::NODE_COMPILERS).hash(&mut hasher);
    hash(&workspace.root.join("templates").join(language), &mut hasher)?;
    for path in INGREDIENTS {
        hash(&workspace.root.join(path), &mut hasher)?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn hash(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    path.hash(hasher);
    if path.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path)
            .and_then(Iterator::collect::<std::io::Result<_>>)
            .with_context(|| format!("read {}", path.display()))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        return entries.iter().try_for_each(|entry| hash(&entry.path(), hasher));
    }
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    bytes.hash(hasher);
    Ok(())
}

fn with_code_cache<'a>(meed: &'a mut Command, workspace: &Workspace) -> &'a mut Command {
    meed.env("MEED_CODE_CACHE", folder(workspace).join("code"))
}
