//! `cargo xtask clients`: packs the clients of `clients/`, with types from the OpenAPI document of this server. Publishes
//! nothing.

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::npm;
use crate::process::{output, run as run_program, step};
use crate::python;
use crate::test::{FEATURES, PROFILE};
use crate::workspace::Workspace;

/// Packs into `<target>/dist/clients` or the given directory.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let directory = match arguments {
        [] => workspace.target.join("dist/clients"),
        [directory] => std::path::absolute(directory).context("find the directory")?,
        _ => bail!("cargo xtask clients [DIR]"),
    };
    let tools = [
        ("typescript", npm::client_tools(workspace)?),
        ("python", python::client_tools(workspace)?),
    ];
    step("build the server", || {
        let mut cargo = workspace.cargo("build");
        cargo.args(["--package", "meed", "--bin", "meed"]);
        run_program(cargo.args(PROFILE).args(FEATURES))
    })?;
    let document = workspace.target.join("openapi.json");
    let printed = output(Command::new(workspace.programs.join("meed")).arg("openapi"))?;
    fs::write(&document, printed).with_context(|| format!("write {}", document.display()))?;
    for (client, tools) in tools {
        step(&format!("pack the {client} client"), || {
            let mut pack = Command::new(workspace.root.join("clients/pack"));
            run_program(pack.arg(client).arg(&document).arg(tools).arg(&directory))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::pins::{CLIENT_TOOLS, PYTHON_CLIENT_TOOLS};

    const TYPESCRIPT: &str = include_str!("../../clients/typescript/package.json");
    const PYTHON: &str = include_str!("../../clients/python/pyproject.toml");

    #[test]
    fn contributors_use_the_pinned_tools() {
        let packages = TYPESCRIPT.split("\"devDependencies\": {").nth(1).expect("dependencies");
        let packages = packages.split('}').next().expect("an end");
        for package in packages.split(',') {
            let pin = package.trim().replace("\": \"", "@").replace('"', "");
            assert!(CLIENT_TOOLS.contains(&pin.as_str()), "{pin} is not pinned");
        }
        let packages = PYTHON.split("\ndev = [").nth(1).expect("dependencies");
        let packages = packages.split(']').next().expect("an end");
        for package in packages.split(',') {
            let pin = package.trim().replace('"', "");
            assert!(PYTHON_CLIENT_TOOLS.contains(&pin.as_str()), "{pin} is not pinned");
        }
    }
}
