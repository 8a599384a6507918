//! A client that openapi-typescript generates from the served document compiles, and does the main job.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::document;
use crate::support::{TestApp, bundled};

const FILES: [(&str, &str); 3] = [
    ("smoke.ts", include_str!("client/smoke.ts")),
    ("tsconfig.json", include_str!("client/tsconfig.json")),
    ("package.json", r#"{"type": "module"}"#),
];

fn tools() -> PathBuf {
    std::env::var_os("MEED_TEST_CLIENT_TOOLS")
        .expect("MEED_TEST_CLIENT_TOOLS is not set: run the tests with `cargo xtask test`, which installs the tools")
        .into()
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out
}

fn program(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(folder.join("node_modules/.bin").join(name));
    command.current_dir(folder);
    command
}

/// One engine is enough, because the document does not depend on the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_client_compiles_and_does_the_main_job() {
    let app = TestApp::on_sqlite().await;
    let folder = app.directory().join("client");
    fs::create_dir(&folder).expect("a folder");
    symlink(tools(), folder.join("node_modules")).expect("a link");
    for (name, text) in FILES {
        fs::write(folder.join(name), text).expect("a file");
    }
    fs::write(folder.join("openapi.json"), document(&app).await.to_string()).expect("a file");
    let module = folder.join("login-streak.wasm");
    fs::write(&module, bundled("login-streak")).expect("a file");
    let mut node = Command::new("node");
    node.current_dir(&folder).arg("built/smoke.js");
    node.env("MEED_URL", app.listen().await).env("PLUGIN", module);
    node.env("OPERATOR_TOKEN", app.operator().await);
    node.env("AUDITOR_TOKEN", app.auditor().await);
    let output = tokio::task::spawn_blocking(move || {
        run(program(&folder, "openapi-typescript").args([
            "openapi.json",
            "--output",
            "schema.d.ts",
            // A member with a default may be left out of a body.
            "--default-non-nullable=false",
        ]));
        run(program(&folder, "tsc").args(["--project", "."]));
        run(&mut node)
    });
    let output = output.await.expect("a client");
    assert!(output.ends_with(" was granted\n"), "{output}");
}
