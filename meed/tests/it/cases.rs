//! Runs the test cases of the bundled plugins and of the cookbook on the built modules, like `meed plugin test`.

use std::fs;
use std::path::{Path, PathBuf};

use meed_host::clock::Clock;
use meed_host::plugins::cases::{self, Case, History};
use meed_host::sandbox::{Sandbox, Settings};

use crate::support::TestApp;

/// The maximum size of a plugin in Rust: copying its bytes takes most of the start of a call.
const MAX_BYTES: u64 = 34 << 10;

/// A plugin crate and its built module.
struct Built {
    name: String,
    cases: PathBuf,
    wasm: PathBuf,
}

/// Every crate below `plugins/` and `cookbook/`.
fn built() -> Vec<Built> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let plugins = PathBuf::from(
        std::env::var("MEED_TEST_PLUGINS")
            .expect("MEED_TEST_PLUGINS is not set: run the tests with `cargo xtask test`, which builds the plugins"),
    );
    let shelves = [("plugins", plugins.clone()), ("cookbook", plugins.join("cookbook"))];
    let mut built = Vec::new();
    for (folder, destination) in shelves {
        for entry in fs::read_dir(root.join(folder)).expect("the folder is there") {
            let path = entry.expect("its entries can be read").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            built.push(Built {
                wasm: destination.join(format!("{name}.wasm")),
                cases: path.join("tests"),
                name,
            });
        }
    }
    assert!(built.len() >= 16, "only {} plugins found", built.len());
    built
}

#[test]
fn every_plugin_is_small() {
    for Built { name, wasm, .. } in built() {
        let bytes = fs::metadata(&wasm)
            .unwrap_or_else(|error| panic!("{}: {error}", wasm.display()))
            .len();
        assert!(bytes < MAX_BYTES, "{name} has {bytes} bytes, {MAX_BYTES} are too many");
    }
}

/// One database engine is enough, because the sandbox does not use the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_plugin_passes_its_self_checks() {
    let app = TestApp::on_sqlite().await;
    for Built { name, wasm, .. } in built() {
        let uploaded = app.app.plugins.upload(fs::read(&wasm).unwrap(), None).await;
        assert!(uploaded.is_ok(), "{name}: {}", uploaded.unwrap_err());
    }
}

#[tokio::test]
async fn every_case_passes() {
    let sandbox = Sandbox::new(&Settings::default(), env!("CARGO_BIN_EXE_meed").into(), None).unwrap();
    let history = History::open(Clock::System).await.unwrap();
    let mut passed = 0;
    for Built { name, cases, wasm } in built() {
        let admitted = sandbox.admit(fs::read(&wasm).unwrap()).await.unwrap();
        let schema = &admitted.manifest.params_schema;
        for entry in fs::read_dir(&cases).unwrap_or_else(|error| panic!("{}: {error}", cases.display())) {
            let file = entry.unwrap().path();
            let case: Case = serde_json::from_slice(&fs::read(&file).unwrap())
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let ran = cases::run(&sandbox, &admitted.plugin, schema, &case, Some(&history))
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let faults = case.mismatches(&ran);
            assert!(faults.is_empty(), "{name}: {}\n{}", file.display(), faults.join("\n"));
            passed += 1;
        }
    }
    assert!(passed >= 60, "only {passed} cases found");
}
