//! `cargo xtask up`: builds and starts a server with demo data, from a clean clone.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::console;
use crate::plugins;
use crate::process::{line, run as run_program, step};
use crate::workspace::Workspace;

/// Returns only on an error: the server replaces this process, so that signals reach it and its exit code is ours.
///
/// Builds only what a demo needs: the bundled plugins and the default features of the server.
pub(crate) fn run(workspace: &Workspace, arguments: Vec<OsString>) -> Result<()> {
    let plugins = plugins::build_bundled(workspace)?;
    console::build_if_possible(workspace)?;
    step("build the server", || {
        run_program(workspace.cargo("build").args(["--package", "meed", "--bin", "meed"]))
    })?;
    let here = std::env::current_dir().context("find the current directory")?;
    let mut meed = Command::new(workspace.programs.join("meed"));
    // In the root of the checkout, so that every start finds the same data.
    meed.current_dir(&workspace.root).args(["demo", "--plugins"]);
    meed.arg(plugins).args(with_absolute_data_dir(arguments, &here));
    Err(meed.exec()).with_context(|| format!("start {}", line(&meed)))
}

/// Makes `--data-dir` absolute, because the server runs in another directory.
fn with_absolute_data_dir(arguments: Vec<OsString>, here: &Path) -> Vec<OsString> {
    let mut follows = false;
    arguments
        .into_iter()
        .map(|argument| {
            let text = argument.to_string_lossy();
            let is_name = text == "--data-dir";
            let absolute = match text.strip_prefix("--data-dir=") {
                Some(directory) => format!("--data-dir={}", here.join(directory).display()).into(),
                None if follows => here.join(&argument).into_os_string(),
                None => argument.clone(),
            };
            follows = is_name;
            absolute
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absolute(arguments: &[&str]) -> Vec<OsString> {
        with_absolute_data_dir(arguments.iter().map(OsString::from).collect(), Path::new("/here"))
    }

    #[test]
    fn a_data_dir_is_relative_to_the_current_directory() {
        assert_eq!(absolute(&["--data-dir", "d"]), ["--data-dir", "/here/d"]);
        assert_eq!(absolute(&["--data-dir=d"]), ["--data-dir=/here/d"]);
        assert_eq!(absolute(&["--data-dir", "/d"]), ["--data-dir", "/d"]);
        assert_eq!(
            absolute(&["--listen", "[::1]:80", "--data-dir", "d", "x"]),
            ["--listen", "[::1]:80", "--data-dir", "/here/d", "x"]
        );
    }
}
