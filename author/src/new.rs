//! `meed plugin new`: creates a complete small project from embedded templates. It needs no network.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use include_dir::{Dir, include_dir};

use super::project::{Language, check_name};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../templates");
/// The test cases that every template passes.
const CASES: &str = "cases";

static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../plugin-sdk/src");
static SDK_MACROS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../plugin-sdk/macros/src");
static SDK_EXAMPLES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../plugin-sdk/examples");
const SDK_MANIFEST: &str = include_str!("../../plugin-sdk/Cargo.toml");
const SDK_MACROS_MANIFEST: &str = include_str!("../../plugin-sdk/macros/Cargo.toml");

/// The name of the plugin in the templates.
const TEMPLATE_NAME: &str = "regular-shopper";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The name of the plugin, in kebab-case
    name: String,
    /// The programming language
    #[arg(long, value_enum, default_value = "rust")]
    lang: Language,
    /// The folder of the project, instead of ./NAME
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { name, lang, directory } = arguments;
    check_name(name)?;
    let directory = directory.clone().unwrap_or_else(|| PathBuf::from(name));
    refuse_what_is_there(&directory)?;
    let template = TEMPLATES
        .get_dir(lang.name())
        .with_context(|| format!("this build has no template for {}", lang.name()))?;
    let cases = TEMPLATES.get_dir(CASES).context("this build has no cases")?;
    write(template, &directory, name)?;
    write(cases, &directory.join("tests"), name)?;
    if *lang == Language::Rust {
        write_sdk(&directory.join("sdk"))?;
    }
    println!("A {} plugin is in {}. Next:\n", lang.name(), directory.display());
    println!("  cd {}", directory.display());
    if let Some(install) = lang.install() {
        println!("  {install}");
    }
    println!("  meed plugin build\n  meed plugin test");
    Ok(())
}

fn refuse_what_is_there(directory: &Path) -> anyhow::Result<()> {
    match fs::read_dir(directory) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                bail!(
                    "{} is not empty; name another folder with --directory, or empty this one",
                    directory.display()
                );
            }
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("look into {}", directory.display())),
    }
}

/// Writes the files of a folder, with the plugin's name inserted.
fn write(from: &Dir<'_>, to: &Path, name: &str) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for file in from.files() {
        let path = to.join(file.path().file_name().unwrap_or_default());
        let text = file
            .contents_utf8()
            .with_context(|| format!("{} is not text", file.path().display()))?;
        fs::write(&path, text.replace(TEMPLATE_NAME, name)).with_context(|| format!("write {}", path.display()))?;
    }
    for folder in from.dirs() {
        write(folder, &to.join(folder.path().file_name().unwrap_or_default()), name)?;
    }
    Ok(())
}

/// A copy of the SDK, so that the project depends only on crates.io.
fn write_sdk(sdk: &Path) -> anyhow::Result<()> {
    for (from, to) in [(&SDK, "src"), (&SDK_MACROS, "macros/src"), (&SDK_EXAMPLES, "examples")] {
        write(from, &sdk.join(to), TEMPLATE_NAME)?;
    }
    for (path, text) in [("Cargo.toml", SDK_MANIFEST), ("macros/Cargo.toml", SDK_MACROS_MANIFEST)] {
        let path = sdk.join(path);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
