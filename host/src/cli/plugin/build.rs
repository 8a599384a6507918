//! `meed plugin build`: the language's own compiler, then everything that makes its result a plugin.

mod compile;
mod tool;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use super::project::{Language, Project};
use crate::sandbox::package;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The project
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,
}

/// Builds the project and says where the module is.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    let project = Project::open(&arguments.directory)?;
    let build = project.build_directory();
    fs::create_dir_all(build.join("wit")).with_context(|| format!("create {}", build.display()))?;
    write_identity(&project)?;
    let component = compile::component(&project)
        .with_context(|| format!("cannot build the {} project in {}", project.language.name(), project.directory.display()))?;
    let plugin = package::finish(&component)?;
    let module = project.module();
    fs::write(&module, &plugin).with_context(|| format!("write {}", module.display()))?;
    println!("{}: {} bytes", module.display(), plugin.len());
    println!("Next: `meed plugin test` runs the cases in tests/ against it.");
    Ok(module)
}

/// The name and the version are those of meed.toml; the code gets them as a small file of constants.
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
    // Not touched when it is right, for tools that look at times.
    if fs::read_to_string(&file).ok().as_deref() != Some(&text) {
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

const WRITTEN: &str = "Written by `meed plugin build` from meed.toml.";

fn typescript(name: &str, version: &semver::Version) -> String {
    format!("// {WRITTEN}\nexport const NAME = \"{name}\";\nexport const VERSION = \"{version}\";\n")
}

/// A Rust plugin has the name and the version of its package.
fn check_cargo(project: &Project) -> anyhow::Result<()> {
    let file = project.directory.join("Cargo.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let manifest: toml::Table = toml::from_str(&text).with_context(|| format!("{} is not usable", file.display()))?;
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
