//! A plugin's project: a folder with a `meed.toml`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use meed_host::sandbox::is_plugin_name;

/// The languages that have a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub(super) enum Language {
    Rust,
    TypeScript,
    Python,
    Go,
    C,
    AssemblyScript,
}

impl Language {
    /// The name in `meed.toml` and in `templates/`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::TypeScript => "typescript",
            Self::Python => "python",
            Self::Go => "go",
            Self::C => "c",
            Self::AssemblyScript => "assemblyscript",
        }
    }

    /// The command that installs the compiler, to run in the project's folder; `None` if none is needed.
    pub(super) fn install(self) -> Option<&'static str> {
        match self {
            Self::Rust => Some("rustup target add wasm32-unknown-unknown"),
            Self::TypeScript | Self::AssemblyScript => Some("npm install"),
            Self::Python | Self::C => Some("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"),
            Self::Go => None,
        }
    }
}

/// The content of `meed.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    name: String,
    version: semver::Version,
    language: Language,
}

#[derive(Debug)]
pub(super) struct Project {
    pub(super) directory: PathBuf,
    pub(super) name: String,
    pub(super) version: semver::Version,
    pub(super) language: Language,
}

impl Project {
    pub(super) fn open(directory: &Path) -> anyhow::Result<Self> {
        let file = directory.join("meed.toml");
        let text = fs::read_to_string(&file).with_context(|| {
            format!(
                "cannot read {}; is this a plugin project? `meed plugin new` creates one",
                file.display()
            )
        })?;
        let Settings {
            name,
            version,
            language,
        } = toml::from_str(&text).with_context(|| format!("{} is invalid", file.display()))?;
        check_name(&name).with_context(|| format!("{} is invalid", file.display()))?;
        Ok(Self {
            directory: directory
                .canonicalize()
                .with_context(|| format!("find {}", directory.display()))?,
            name,
            version,
            language,
        })
    }

    /// The module to upload, the only file in its folder.
    pub(super) fn module(&self) -> PathBuf {
        self.directory.join("build").join(format!("{}.wasm", self.name))
    }

    /// The folder for intermediate files of compilers.
    pub(super) fn work_directory(&self) -> PathBuf {
        self.directory.join("build/work")
    }
}

pub(super) fn check_name(name: &str) -> anyhow::Result<()> {
    ensure!(
        is_plugin_name(name),
        "the name {name:?} must be kebab-case and at most 64 characters, for example regular-shopper"
    );
    Ok(())
}
