//! `meed plugin new` and `build`. `languages` tests the output of real compilers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::{bad, good, plugin};
use crate::guests::Condition;

const LANGUAGES: [&str; 6] = ["rust", "c", "assemblyscript", "go", "typescript", "python"];

#[test]
fn a_project_of_every_language_has_its_name_and_the_shared_cases() {
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    let cases = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates/cases"))
        .expect("the cases")
        .count();
    for language in LANGUAGES {
        let name = format!("my-{language}");
        let printed = good(plugin(directory, &["new", &name, "--lang", language]), "");
        assert!(
            printed.contains(&format!("cd {name}")) && printed.contains("meed plugin build"),
            "{printed}"
        );
        let project = directory.join(&name);
        let settings: toml::Table = fs::read_to_string(project.join("meed.toml"))
            .expect("meed.toml")
            .parse()
            .expect("TOML");
        assert_eq!(settings["name"].as_str(), Some(&*name));
        assert_eq!(settings["language"].as_str(), Some(language));
        assert_eq!(fs::read_dir(project.join("tests")).expect("tests").count(), cases);
        assert!(!mentions(&project, "regular-shopper"), "{language}");
    }
}

fn mentions(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            mentions(&path, text)
        } else {
            fs::read_to_string(&path).expect("text").contains(text)
        }
    })
}

#[test]
fn nothing_is_overwritten_and_invalid_names_are_refused() {
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    good(plugin(directory, &["new", "mine", "--directory", "place"]), "");
    assert!(directory.join("place/sdk/src/bindings/generated.rs").is_file());
    bad(
        plugin(directory, &["new", "mine", "--directory", "place"]),
        "",
        "place is not empty",
    );
    for name in ["Mine", "1st", "a--b", "../up", ""] {
        bad(plugin(directory, &["new", name]), "", "must be kebab-case");
    }
    let output = super::run(plugin(directory, &["new", "mine", "--lang", "cobol"]), "");
    assert!(
        super::text(&output).contains("assemblyscript"),
        "it says which there are"
    );
}

/// The SDK's manifests inherit these from the workspace, so a project must be a workspace too.
#[test]
fn the_rust_template_has_the_versions_of_our_workspace() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| -> toml::Table {
        let text = fs::read_to_string(root.join(path)).expect("a manifest");
        text.parse().expect("TOML")
    };
    let (ours, theirs) = (read("Cargo.toml"), read("templates/rust/Cargo.toml"));
    assert_eq!(ours["workspace"]["package"], theirs["workspace"]["package"]);
    let dependencies = theirs["workspace"]["dependencies"].as_table().expect("a table");
    assert!(dependencies.len() > 5);
    for (name, version) in dependencies {
        if !name.starts_with("meed-") {
            assert_eq!(&ours["workspace"]["dependencies"][name], version, "{name}");
        }
    }
}

#[test]
fn a_missing_compiler_is_reported_with_install_instructions() {
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    for (language, hint) in [
        ("rust", "rustup.rs"),
        ("c", "pip install ziglang=="),
        ("assemblyscript", "npm install --save-dev assemblyscript@"),
        ("go", "go.dev"),
        ("typescript", "npm install --save-dev esbuild@"),
        ("python", "pip install componentize-py=="),
    ] {
        good(plugin(directory, &["new", language, "--lang", language]), "");
        let mut build = plugin(directory, &["build", language]);
        build.env("PATH", "");
        bad(build, "", hint);
    }
    bad(plugin(directory, &["build", "nowhere"]), "", "meed plugin new");
}

#[test]
fn cargo_and_meed_toml_must_agree() {
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    good(plugin(directory, &["new", "mine"]), "");
    let file = directory.join("mine/meed.toml");
    let settings = fs::read_to_string(&file).expect("meed.toml").replace("1.0.0", "1.1.0");
    fs::write(&file, settings).expect("a file");
    bad(
        plugin(directory, &["build", "mine"]),
        "",
        r#"the version is "1.1.0" in meed.toml and "1.0.0" in Cargo.toml"#,
    );
}

/// A project with a compiler that always outputs this module.
fn project(directory: &Path, module: &[u8]) {
    good(plugin(directory, &["new", "honest", "--lang", "c"]), "");
    let programs = directory.join("honest/.venv/bin");
    fs::create_dir_all(&programs).expect("a folder");
    fs::write(programs.join("made.wasm"), module).expect("a file");
    let zig = programs.join("zig");
    fs::write(
        &zig,
        "#!/bin/sh\nhere=$(dirname \"$0\")\nwhile [ \"$1\" != -o ]; do shift; done\ncp \"$here/made.wasm\" \"$2\"\n",
    )
    .expect("a file");
    fs::set_permissions(&zig, fs::Permissions::from_mode(0o755)).expect("it may run");
    let tests = directory.join("honest/tests");
    fs::remove_dir_all(&tests).expect("the cases are removed");
    fs::create_dir(&tests).expect("a folder");
}

fn inspect(directory: &Path) -> Value {
    let mut inspect = plugin(directory, &["inspect", "honest", "--json"]);
    inspect.env("MEED_CODE_CACHE", directory.join("code"));
    serde_json::from_str(&good(inspect, "")).expect("JSON")
}

fn build(directory: &Path, flags: &[&str]) -> String {
    let mut build = plugin(directory, &["build", "honest"]);
    build.args(flags).env("HOME", directory);
    good(build, "")
}

const CASE: &str = r#"{"params": {}, "activities": [{"kind": "auth.login", "occurredAt": "2026-03-01T10:00:00Z", "attributes": {"device": "phone"}}],
    "context": {"rewards": [{"id": "gold", "kind": "ITEM", "value": null, "maxQuantity": 1}]},
    "expect": {"decision": {"outcome": "eligible", "reasons": [{"code": "enough", "message": "You did it."}], "progress": [],
        "awards": {"chosen": [{"rewardId": "gold", "quantity": 1}]}, "retryAt": null}}}"#;

#[test]
fn a_built_module_contains_its_cases_and_passes_them() {
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    project(directory, &Condition::default().module());
    fs::write(directory.join("honest/tests/good.json"), CASE).expect("a file");

    let printed = build(directory, &[]);
    assert!(printed.contains("honest.wasm"), "{printed}");
    let inspected = inspect(directory);
    assert_eq!(
        (&inspected["cases"], &inspected["class"]),
        (&1.into(), &"STANDARD".into())
    );
    let module = fs::read(directory.join("honest/build/honest.wasm")).expect("the module");
    let carried = meed_host::plugins::cases::read(&module).expect("cases");
    assert!(carried[0].activities.is_empty());
    assert_eq!(carried[0].facts.as_ref().map(Vec::len), Some(1), "as facts");

    build(directory, &["--without-cases"]);
    assert_eq!(inspect(directory)["cases"], 0);

    fs::write(
        directory.join("honest/tests/bad.json"),
        CASE.replace("You did it.", "You did not."),
    )
    .expect("a file");
    bad(
        plugin(directory, &["build", "honest"]),
        "",
        "bad.json does not pass; see `meed plugin test`",
    );
}

#[test]
fn a_module_that_a_server_would_refuse_is_not_built() {
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    let module = |text: &str| wat::parse_str(text).expect("a module");
    project(directory, &module("(module)"));
    bad(
        plugin(directory, &["build", "honest"]),
        "",
        "the module does not fit the contract",
    );
}
