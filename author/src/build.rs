//! `meed plugin build`: runs the language's compiler and turns its output into a plugin.

mod compile;
mod tool;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::project::{Language, Project};
use super::workbench::{Bench, history, read_cases};
use crate::package;
use meed_host::plugins::cases;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder of the project
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,
    /// Do not embed the test cases of tests/; a server runs embedded cases before it accepts the module
    #[arg(long)]
    without_cases: bool,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let project = Project::open(&arguments.directory)?;
    let work = project.work_directory();
    fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    write_identity(&project)?;
    let component = compile::component(&project).with_context(|| {
        let language = project.language.name();
        format!("cannot build the {language} project in {}", project.directory.display())
    })?;
    let plugin = package::finish(&component)?;
    let module = project.module();
    write(&module, &plugin)?;
    if !arguments.without_cases {
        embed_cases(&project, plugin).await?;
    }
    println!("{}: {} bytes", module.display(), fs::metadata(&module)?.len());
    println!("Next: `meed plugin test` runs the cases in tests/ against it.");
    Ok(())
}

fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(file, bytes).with_context(|| format!("write {}", file.display()))
}

/// Embedded cases contain facts instead of activities, because the server has no history for them.
async fn embed_cases(project: &Project, plugin: Vec<u8>) -> anyhow::Result<()> {
    let tests = project.directory.join("tests");
    if !tests.is_dir() {
        return Ok(());
    }
    let workbench = Bench::of(project.module()).open().await?;
    let history = history().await?;
    let schema = &workbench.admitted.manifest.params_schema;
    let mut told = Vec::new();
    for (path, case) in read_cases(&tests)? {
        let ran = cases::run(
            &workbench.sandbox,
            &workbench.admitted.plugin,
            schema,
            &case,
            Some(&history),
        )
        .await
        .with_context(|| format!("{} cannot be run", path.display()))?;
        if !case.mismatches(&ran).is_empty() {
            anyhow::bail!(
                "{} does not pass; see `meed plugin test`, or build with --without-cases",
                path.display()
            );
        }
        told.push(case.with_facts(ran.facts));
    }
    let module = cases::embed(plugin, &told).context("cannot embed tests/ in the module; see --without-cases")?;
    write(&project.module(), &module)
}

/// The name and the version come from meed.toml; the code gets them in a file of constants.
fn write_identity(project: &Project) -> anyhow::Result<()> {
    let Project { name, version, .. } = project;
    let (file, text) = match project.language {
        Language::Rust => return check_cargo(project),
        Language::TypeScript => ("src/plugin.ts", typescript(name, version)),
        Language::AssemblyScript => ("assembly/plugin.ts", typescript(name, version)),
        Language::Python => (
            "src/plugin.py",
            format!("# {WRITTEN}\nNAME = \"{name}\"\nVERSION = \"{version}\"\n"),
        ),
        Language::Go => (
            "plugin.go",
            format!("// {WRITTEN}\n\npackage main\n\nconst (\n\tName    = \"{name}\"\n\tVersion = \"{version}\"\n)\n"),
        ),
        Language::C => (
            "src/plugin.h",
            format!("// {WRITTEN}\n#define PLUGIN_NAME \"{name}\"\n#define PLUGIN_VERSION \"{version}\"\n"),
        ),
    };
    let file = project.directory.join(file);
    // Not written if it is up to date, because build tools compare timestamps.
    if fs::read_to_string(&file).ok().as_deref() != Some(&text) {
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

const WRITTEN: &str = "Written by `meed plugin build` from meed.toml.";

fn typescript(name: &str, version: &semver::Version) -> String {
    format!("// {WRITTEN}\nexport const NAME = \"{name}\";\nexport const VERSION = \"{version}\";\n")
}

/// A Rust plugin uses the name and version of its package.
fn check_cargo(project: &Project) -> anyhow::Result<()> {
    let file = project.directory.join("Cargo.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let manifest: toml::Table = toml::from_str(&text).with_context(|| format!("{} is invalid", file.display()))?;
    let said = |key: &str| manifest.get("package")?.get(key)?.as_str().map(str::to_owned);
    for (key, ours) in [("name", project.name.clone()), ("version", project.version.to_string())] {
        let theirs = said(key).unwrap_or_default();
        ensure!(
            theirs == ours,
            "the {key} is {ours:?} in meed.toml and {theirs:?} in Cargo.toml; make them equal"
        );
    }
    Ok(())
}
