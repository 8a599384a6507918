//! Finding and running a compiler: in the project first, then on the PATH.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The folders in which package managers install programs of a project.
const IN_PROJECT: [&str; 2] = ["node_modules/.bin", ".venv/bin"];

/// A compiler: its names, and how to install it.
pub(super) struct Tool {
    pub(super) names: &'static [&'static str],
    pub(super) install: &'static str,
}

impl Tool {
    /// Runs the compiler in the project's folder and returns its output. `arguments` adds the arguments.
    pub(super) fn run(&self, project: &Path, arguments: impl Fn(&mut Command)) -> anyhow::Result<Vec<u8>> {
        for name in self.names {
            let program = IN_PROJECT
                .iter()
                .map(|folder| project.join(folder).join(name))
                .find(|program| program.is_file())
                .unwrap_or_else(|| name.into());
            let mut command = Command::new(&program);
            arguments(&mut command);
            command
                .current_dir(project)
                .stdin(Stdio::null())
                .stderr(Stdio::inherit());
            match command.output() {
                Ok(output) if output.status.success() => return Ok(output.stdout),
                Ok(output) => bail!(
                    "{}{name} ended with {}",
                    String::from_utf8_lossy(&output.stdout),
                    output.status
                ),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("run {}", program.display())),
            }
        }
        bail!(
            "there is no {} in the project or on the PATH; install it: {}",
            self.names.join(" or "),
            self.install
        )
    }
}
