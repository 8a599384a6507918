//! `cargo xtask dist`: builds a release as a folder and as an archive with its checksum.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::console;
use crate::plugins;
use crate::process::{output, run as run_program, step};
use crate::workspace::Workspace;

/// The name of the folder; in the archive it includes version and platform.
const FOLDER: &str = "meed";
/// The path of the completion script of each shell, below `share/`.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "bash-completion/completions/meed"),
    ("zsh", "zsh/site-functions/_meed"),
    ("fish", "fish/vendor_completions.d/meed.fish"),
];
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Builds into `<target>/dist` or the given directory. `--kafka` needs OpenSSL, for the build and at run time.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let (flags, directories): (Vec<_>, Vec<_>) = arguments.iter().partition(|argument| **argument == *"--kafka");
    let directory = match directories.as_slice() {
        [] => workspace.target.join("dist"),
        [directory] => std::path::absolute(directory).context("find the directory")?,
        _ => bail!("cargo xtask dist [--kafka] [DIR]"),
    };
    let plugins = plugins::build_bundled(workspace)?;
    console::build(workspace)?;
    let meed = step("build the server", || {
        let mut cargo = workspace.cargo("build");
        cargo.args(["--release", "--package", "meed", "--bin", "meed"]);
        cargo.args([
            "--features",
            if flags.is_empty() {
                "grpc,otel"
            } else {
                "grpc,otel,kafka-tls"
            },
        ]);
        run_program(&mut cargo)?;
        Ok(workspace.programs.with_file_name("release").join("meed"))
    })?;
    step("make the release", || {
        let folder = directory.join(FOLDER);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        copy(&meed, &folder.join("bin/meed"))?;
        for entry in fs::read_dir(&plugins).with_context(|| format!("read {}", plugins.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "wasm") {
                copy_into(&path, &folder.join("plugins"))?;
            }
        }
        for licence in LICENCES {
            copy_into(&workspace.root.join(licence), &folder)?;
        }
        for part in ["deploy/systemd", "deploy/postgres"] {
            run_program(Command::new("cp").arg("-R").arg(workspace.root.join(part)).arg(&folder))?;
        }
        describe(&meed, &folder.join("share"))?;
        archive(&meed, &directory)
    })
}

/// The man pages and completions that the program generates.
fn describe(meed: &Path, share: &Path) -> Result<()> {
    for (shell, path) in COMPLETIONS {
        let path = share.join(path);
        create_parent(&path)?;
        let script = output(Command::new(meed).args(["completions", shell]))?;
        fs::write(&path, script).with_context(|| format!("write {}", path.display()))?;
    }
    run_program(Command::new(meed).arg("man").arg(share.join("man/man1")))
}

/// Reproducible: the archive contains no owner, current time or directory order.
fn archive(meed: &Path, directory: &Path) -> Result<()> {
    let printed = output(Command::new(meed).arg("--version"))?;
    let version = printed.trim().strip_prefix("meed ").context("read the version")?;
    let printed = output(Command::new("rustc").arg("-vV"))?;
    let machine = printed
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("find the machine in `rustc -vV`")?;
    let name = format!("meed-{version}-{machine}");
    let file = format!("{name}.tar.gz");
    let mut tar = Command::new("tar");
    tar.current_dir(directory).args([
        "--create",
        "--gzip",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
        "--mode=go=rX,u+rw,a-s",
    ]);
    tar.arg(format!("--transform=s,^{FOLDER},{name},"));
    run_program(tar.arg(format!("--file={file}")).arg(FOLDER))?;
    let sum = output(Command::new("sha256sum").current_dir(directory).arg(&file))?;
    let checksum = directory.join(format!("{file}.sha256"));
    fs::write(&checksum, &sum).with_context(|| format!("write {}", checksum.display()))?;
    print!("{sum}");
    Ok(())
}

fn copy_into(from: &Path, directory: &Path) -> Result<()> {
    copy(from, &directory.join(from.file_name().unwrap_or_default()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    create_parent(to)?;
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn create_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))
}
