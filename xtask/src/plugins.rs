//! `cargo xtask plugins`: builds every crate under `plugins/` into `<target>/plugins/<name>.wasm`, and the cookbook
//! into
//! `<target>/plugins/cookbook/`, which no server reads.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{output, run, step};
use crate::workspace::{Workspace, is_on_path};

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "plugin";

/// The crates of one folder.
struct Shelf {
    /// In the checkout.
    folder: &'static str,
    names: Vec<String>,
    destination: PathBuf,
}

/// Builds the bundled plugins and the cookbook; returns the directory of the bundled ones.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let plugins = directory(workspace);
    let cookbook = Shelf::of(workspace, "cookbook", plugins.join("cookbook"))?;
    let bundled = Shelf::of(workspace, "plugins", plugins)?;
    build_shelves(workspace, &[bundled, cookbook])
}

/// Builds only the bundled plugins, which is what a server needs.
pub(crate) fn build_bundled(workspace: &Workspace) -> Result<PathBuf> {
    build_shelves(workspace, &[Shelf::of(workspace, "plugins", directory(workspace))?])
}

fn directory(workspace: &Workspace) -> PathBuf {
    workspace.target.join("plugins")
}

fn build_shelves(workspace: &Workspace, shelves: &[Shelf]) -> Result<PathBuf> {
    ensure_target(workspace)?;
    step("build the plugins", || {
        let mut cargo = workspace.cargo("build");
        let names: Vec<_> = shelves.iter().flat_map(|shelf| &shelf.names).collect();
        compile_for_wasm(&mut cargo, &names);
        for name in names {
            // Cargo restores the current ones; what stays away is no plugin any more.
            let _ = fs::remove_file(artefact(workspace, name));
        }
        run(&mut cargo)?;
        for shelf in shelves {
            shelf.collect(workspace)?;
        }
        Ok(directory(workspace))
    })
}

/// Adds the arguments that build these packages as plugins to `cargo build`.
pub(crate) fn compile_for_wasm(cargo: &mut Command, packages: &[impl AsRef<str>]) {
    cargo.args(["--target", TARGET, "--profile", PROFILE]);
    for package in packages {
        cargo.args(["--package", package.as_ref()]);
    }
    // These would replace the flags in .cargo/config.toml, which give a plugin its small stack.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
}

/// The output directory of such builds.
pub(crate) fn artefacts(workspace: &Workspace) -> PathBuf {
    workspace.target.join(TARGET).join(PROFILE)
}

/// Installs the compiler's target for plugins if it is missing.
pub(crate) fn ensure_target(workspace: &Workspace) -> Result<()> {
    if has_target(workspace)? {
        return Ok(());
    }
    step("add the wasm target", || add_target(workspace))
}

/// Asks the compiler, because it may be installed without rustup.
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
             install Rust with rustup (https://rustup.rs), or the target with the package manager of the compiler"
        );
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]).current_dir(&workspace.root);
    run(&mut rustup).with_context(|| {
        format!("add the target {TARGET}, which needs the network once; run `rustup target add {TARGET}` when online")
    })
}

impl Shelf {
    /// The crates under a folder of the checkout; each is in a folder with its name.
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

    /// Copies the built plugins to the destination, and removes older ones.
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

/// The output file of this crate.
fn artefact(workspace: &Workspace, name: &str) -> PathBuf {
    artefacts(workspace).join(format!("{}.wasm", name.replace('-', "_")))
}
