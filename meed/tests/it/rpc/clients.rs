//! Real clients: grpcio from Python, Connect in TypeScript, and curl

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::watches::reader;
use crate::reward_requests::received::Working;
use crate::service_keys;
use crate::support::{Background, TestApp, bundled, on_both_engines, text};

fn tool(variable: &str) -> PathBuf {
    let tool = std::env::var_os(variable);
    let tool = tool.unwrap_or_else(|| panic!("{variable} is not set: run the tests with `cargo xtask test`"));
    tool.into()
}

fn run(command: &mut Command, input: &str) -> String {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().expect("an input").write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().expect("its output");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out
}

/// Compiles the contract for a language.
fn compile(folder: &Path, options: &[String]) {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let mut protoc = Command::new(tool("MEED_TEST_PYTHON_CLIENT_TOOLS"));
    protoc.args(["-m", "grpc_tools.protoc", "-I"]).arg(&proto).args(options);
    let services = [
        "activity_service",
        "claim_service",
        "event_service",
        "progress_service",
        "receipt_service",
    ];
    let messages = ["recurrence", "reward_request"];
    protoc.args(
        services
            .iter()
            .chain(&messages)
            .map(|name| format!("meed/v1/{name}.proto")),
    );
    protoc.arg("google/rpc/error_details.proto");
    run(protoc.current_dir(folder), "");
}

/// A server that speaks HTTP/2.
struct Server {
    process: TestApp,
    address: String,
    /// What its clients must know.
    known: Value,
    _tasks: (Background, Working),
}

impl Server {
    /// What a script says, which runs while the principals of open streams are checked.
    async fn hears(&self, script: JoinHandle<String>) -> String {
        let checks = async {
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                self.process.app.check_passes().await.expect("the passes are checked");
            }
        };
        tokio::select! {
            said = script => said.expect("the script ends"),
            () = checks => unreachable!("the checks do not end"),
        }
    }
}

async fn server(app: &TestApp) -> Server {
    let settings = [("http.http2", "true"), ("limits.service_key.burst", "0")];
    let process = app.replica(&settings);
    let event = process.event("first-come", json!({}), json!({})).await;
    let other = process.event("first-come", json!({}), json!({})).await;
    let user = process.user(Role::User).await;
    let key = service_keys::create(
        &process,
        "shop",
        &["activities:write", "claims:write", "claims:read", "users:write"],
        json!({"sources": ["shop"]}),
    )
    .await;
    let hurried = json!({"rateLimit": {"burst": 5, "perMinute": 1}});
    let hurried = service_keys::create(&process, "hurried", &["claims:read"], hurried).await;
    let admin = process.token(Role::Admin).await;
    let ada = process.put("/users/external/ada").bearer(&admin).send().await;
    let plugin = process.install(bundled("activity-count")).await;
    let params = json!({"kind": "shop.purchase", "count": 3});
    let counted = process.event_on(&plugin, params, json!({})).await;
    let newcomer = process.put("/users/external/newcomer").bearer(&admin).send().await;
    assert!(newcomer.status.is_success(), "{:#}", newcomer.json);
    let known = json!({
        "event": event["id"], "other": other["id"], "user": user.token, "key": key["secret"], "ada": ada.json["id"],
        "counted": counted["id"], "leaver": process.token(Role::User).await,
        "stranger": process.token(Role::User).await, "operator": process.operator().await, "hurried": hurried["secret"],
        "nobody": "nonsense",
    });
    Server {
        address: process.listen().await,
        _tasks: (reader(&process), Working::start(&process)),
        process,
        known,
    }
}

#[apply(on_both_engines)]
async fn python_speaks_grpc(app: TestApp) {
    let server = server(&app).await;
    let folder = tempfile::tempdir().expect("a folder");
    compile(
        folder.path(),
        &["--python_out=.".to_owned(), "--grpc_python_out=.".to_owned()],
    );
    // The package `google` of the tools has the details of errors.
    std::fs::remove_dir_all(folder.path().join("google")).expect("the generated package");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/rpc/python_client.py");
    let mut python = Command::new(tool("MEED_TEST_PYTHON_CLIENT_TOOLS"));
    python
        .arg(script)
        .arg(folder.path())
        .arg(server.address.trim_start_matches("http://"));
    let known = server.known.to_string();
    let script = tokio::task::spawn_blocking(move || run(&mut python, &known));
    assert_eq!(server.hears(script).await.trim(), "done");
    let recorded = server
        .process
        .count("SELECT COUNT(*) FROM activities WHERE source = 'shop'")
        .await;
    assert_eq!(recorded, 2 + 600 - 1 + 1);
}

#[apply(on_both_engines)]
async fn typescript_speaks_connect(app: TestApp) {
    let server = server(&app).await;
    let folder = tempfile::tempdir().expect("a folder");
    let modules = tool("MEED_TEST_CLIENT_TOOLS");
    std::os::unix::fs::symlink(&modules, folder.path().join("node_modules")).expect("a link");
    let plugin = modules.join(".bin/protoc-gen-es");
    let options = [
        format!("--plugin=protoc-gen-es={}", plugin.display()),
        "--es_out=.".to_owned(),
        "--es_opt=target=ts,import_extension=js".to_owned(),
    ];
    compile(folder.path(), &options);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/rpc/connect.ts");
    std::fs::copy(script, folder.path().join("connect.ts")).expect("a copy");
    std::fs::write(folder.path().join("package.json"), r#"{"type": "module"}"#).expect("a file");
    let mut compiler = Command::new(modules.join(".bin/tsc"));
    compiler.args([
        "--strict",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--skipLibCheck",
        "--types",
        "node",
    ]);
    run(compiler.arg("connect.ts").current_dir(folder.path()), "");
    let mut node = Command::new("node");
    node.arg("connect.js").arg(&server.address).current_dir(folder.path());
    let known = server.known.to_string();
    let script = tokio::task::spawn_blocking(move || run(&mut node, &known));
    assert_eq!(server.hears(script).await.trim(), "done");
}

#[apply(on_both_engines)]
async fn curl_needs_no_library(app: TestApp) {
    let server = server(&app).await;
    let (address, known) = (&server.address, &server.known);
    let curl = |token: &str, method: &str, message: Value| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--header", "Content-Type: application/json"]);
        curl.args(["--header", &format!("Authorization: Bearer {}", text(known, token))]);
        curl.args(["--data", &message.to_string(), &format!("{address}/meed.v1.{method}")]);
        serde_json::from_str::<Value>(&run(&mut curl, "")).expect("JSON")
    };
    let claimed =
        tokio::task::block_in_place(|| curl("user", "ClaimService/Claim", json!({"eventId": known["event"]})));
    assert_eq!(claimed["rewardRequest"]["status"], "GRANTED");
    let again = tokio::task::block_in_place(|| curl("user", "ClaimService/Claim", json!({"eventId": known["event"]})));
    assert_eq!(
        (text(&again, "code"), &again["details"][0]["type"]),
        ("already_exists", &json!("google.rpc.ErrorInfo"))
    );
}
