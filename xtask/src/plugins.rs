//! `cargo xtask plugins`: every crate under `plugins/` as `<target>/plugins/<name>.wasm`, and those of the cookbook in
//! `<target>/plugins/cookbook/`, where no server looks for bundled plugins.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{output, run, step};
use crate::workspace::{Workspace, is_on_path};

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "plugin";

/// Crates that are built together and end up in one place.
struct Shelf {
    /// Where they are in the checkout.
    folder: &'static str,
    names: Vec<String>,
    /// Where they go.
    destination: PathBuf,
}

/// Builds the bundled conditions and the cookbook, and says where the bundled ones are.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    ensure_target(workspace)?;
    step("build the plugins", || {
        let plugins = workspace.target.join("plugins");
        let cookbook = plugins.join("cookbook");
        let shelves = [
            Shelf::of(workspace, "plugins", plugins.clone())?,
            Shelf::of(workspace, "cookbook", cookbook)?,
        ];
        let mut cargo = workspace.cargo("build");
        let names: Vec<_> = shelves.iter().flat_map(|shelf| &shelf.names).collect();
        compile_for_wasm(&mut cargo, &names);
        for name in names {
            // Cargo puts them back, also those that are up to date; what it does not put back is no plugin any more.
            let _ = fs::remove_file(artefact(workspace, name));
        }
        run(&mut cargo)?;
        for shelf in &shelves {
            shelf.collect(workspace)?;
        }
        Ok(plugins)
    })
}

/// Makes `cargo build` one of these packages, as plugins are built.
pub(crate) fn compile_for_wasm(cargo: &mut Command, packages: &[impl AsRef<str>]) {
    cargo.args(["--target", TARGET, "--profile", PROFILE]);
    for package in packages {
        cargo.args(["--package", package.as_ref()]);
    }
    // These would replace the flags in .cargo/config.toml, which give a plugin its small stack.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
}

/// Where cargo puts what it builds so.
pub(crate) fn artefacts(workspace: &Workspace) -> PathBuf {
    workspace.target.join(TARGET).join(PROFILE)
}

/// Sees to it that the compiler can build for plugins.
pub(crate) fn ensure_target(workspace: &Workspace) -> Result<()> {
    if has_target(workspace)? {
        return Ok(());
    }
    step("add the wasm target", || add_target(workspace))
}

/// Asks the compiler and not rustup, which need not be there when the compiler came from elsewhere.
fn has_target(workspace: &Workspace) -> Result<bool> {
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(&workspace.root);
    Ok(fs::exists(output(&mut rustc)?.trim())?)
}

fn add_target(workspace: &Workspace) -> Result<()> {
    if !is_on_path("rustup") {
        bail!(
            "this Rust compiler cannot build for {TARGET} and rustup is not on the PATH to add it; \
             install Rust with rustup (https://rustup.rs), or the target with whatever installed the compiler"
        );
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]).current_dir(&workspace.root);
    run(&mut rustup).with_context(|| {
        format!("add the target {TARGET}, which needs the network once; when online, run `rustup target add {TARGET}`")
    })
}

impl Shelf {
    /// The crates under a folder of the checkout; each is in a folder of its own name.
    fn of(workspace: &Workspace, folder: &'static str, destination: PathBuf) -> Result<Self> {
        let path = workspace.root.join(folder);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).with_context(|| format!("read {}", path.display()))? {
            let entry = entry?;
            if entry.path().join("Cargo.toml").is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        if names.is_empty() {
            bail!("there is no crate under {}", path.display());
        }
        names.sort();
        Ok(Self {
            folder,
            names,
            destination,
        })
    }

    /// Copies what cargo built next to each other, under the names of the crates, and nothing older.
    fn collect(&self, workspace: &Workspace) -> Result<()> {
        let Self {
            folder,
            names,
            destination,
        } = self;
        fs::create_dir_all(destination).with_context(|| format!("create {}", destination.display()))?;
        for entry in fs::read_dir(destination)? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let is_plugin = path.extension().is_some_and(|extension| extension == "wasm");
            if is_plugin && !names.iter().any(|known| *known == name) {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        for name in names {
            let from = artefact(workspace, name);
            let to = destination.join(format!("{name}.wasm"));
            let bytes = fs::copy(&from, &to).with_context(|| {
                format!(
                    "copy {}; is `crate-type = [\"cdylib\"]` missing in {folder}/{name}/Cargo.toml?",
                    from.display()
                )
            })?;
            println!("{bytes:>9} bytes  {}", to.display());
        }
        Ok(())
    }
}

/// Where cargo puts what it builds from this crate.
fn artefact(workspace: &Workspace, name: &str) -> PathBuf {
    artefacts(workspace).join(format!("{}.wasm", name.replace('-', "_")))
}
