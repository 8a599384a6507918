//! The clients of `clients/`, packed as for a release, installed, and run against a server.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use meed_host::auth::Role;
use serde_json::{Value, json};

use crate::receipts::erased::erase;
use crate::reward_requests::received::{Working, decided};
use crate::support::{Background, Got, Receiver, TestApp, each, text};
use crate::{service_keys, webhook_endpoints};

const SCOPES: &[&str] = &[
    "activities:write",
    "audit:read",
    "claims:read",
    "claims:write",
    "fulfilments:write",
    "users:read",
    "users:write",
];
/// So many claims are decided and signed together.
const TOGETHER: usize = 6;
/// Each suite has more tests.
const TESTS: usize = 25;

fn tool(variable: &str) -> PathBuf {
    let tool = std::env::var_os(variable);
    tool.unwrap_or_else(|| {
        panic!("{variable} is not set: run the tests with `cargo xtask test`, which installs the tools")
    })
    .into()
}

fn source(client: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients").join(client)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out + &err
}

/// Packs a client with types from this server's document, and returns the only file with this ending.
fn pack(client: &str, tools: &Path, folder: &Path, ending: &str) -> PathBuf {
    let document = folder.join("openapi.json");
    let printed = Command::new(env!("CARGO_BIN_EXE_meed")).arg("openapi").output();
    fs::write(&document, printed.expect("a document").stdout).expect("a file");
    let packed = folder.join("packed");
    run(Command::new(source("pack"))
        .arg(client)
        .arg(document)
        .arg(tools)
        .arg(&packed));
    let files = fs::read_dir(packed).expect("a folder");
    let mut files = files.map(|file| file.expect("a file").path());
    files
        .find(|file| file.to_string_lossy().ends_with(ending))
        .unwrap_or_else(|| panic!("no {ending}"))
}

/// Copies these parts of a client to a new folder.
fn copy(client: &str, parts: &[&str], to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    let parts = parts.iter().map(|part| source(client).join(part));
    run(Command::new("cp").arg("-R").args(parts).arg(to));
}

/// The number after this text.
#[track_caller]
fn count(output: &str, before: &str) -> usize {
    let rest = output
        .rsplit_once(before)
        .unwrap_or_else(|| panic!("no {before:?}:\n{output}"))
        .1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// A server, and what the tests of the clients know about it.
struct Served {
    app: TestApp,
    /// The path of a file.
    fixture: PathBuf,
    _relaying: webhook_endpoints::Relaying,
    _working: Working,
    _reader: Background,
}

impl Served {
    /// One engine is enough, because the responses do not depend on the database.
    async fn start() -> Self {
        let (app, relaying) = webhook_endpoints::relayed(&TestApp::on_sqlite().await);
        let event = draw(&app).await;
        // First, because the endpoint gets the messages of all claims.
        let [webhook, rotated, previous, secret] = webhooks(&app, &event).await;
        let quests = json!({"kind": "quest.completed", "count": 2});
        let quests = app.event("activity-count", quests, json!({})).await;
        let (working, requests) = claim_together(&app, &event).await;
        let (kept, erased) = requests.split_at(TOGETHER);
        for request in [&kept[0], &erased[0]] {
            reverse(&app, request).await;
        }
        let mut receipts = Vec::new();
        for request in kept {
            receipts.push(app.read(&format!("/reward-requests/{request}/receipt")).await);
        }
        erase(&app, &erased[0]).await;
        let key = service_keys::secret(&app, "clients", SCOPES).await;
        let fixture = json!({
            "url": app.listen().await, "key": key, "event": event["id"], "quests": quests["id"], "receipts": receipts,
            "erased": app.read(&format!("/reward-requests/{}/receipt", erased[0])).await,
            "reversal": app.read(&format!("/reward-requests/{}/reversal/receipt", kept[0])).await,
            "keys": receipt_keys(&app).await, "foreignKeys": receipt_keys(&TestApp::on_sqlite().await).await,
            "webhook": webhook, "rotated": rotated, "secret": secret, "previousSecret": previous,
        });
        let file = app.directory().join("fixture.json");
        fs::write(&file, fixture.to_string()).expect("a file");
        let watch = app.app.watch.clone();
        Self {
            _reader: Background::start(&app.clock, move || watch.reader()),
            app,
            fixture: file,
            _relaying: relaying,
            _working: working,
        }
    }

    /// A new folder.
    fn folder(&self) -> PathBuf {
        let folder = self.app.directory().join("client");
        fs::create_dir(&folder).expect("a folder");
        folder
    }
}

/// An event that grants every user its only reward. Its params and its title try the canonical JSON of receipts.
async fn draw(app: &TestApp) -> Value {
    let reward = app.reward(json!({"type": "POINT", "value": 100})).await;
    let weights = json!({(text(&reward, "id")): 5, "\u{fffd}": 1, "\u{10000}": 2});
    let changes = json!({"rewardIds": [reward["id"]], "title": "Überraschung \u{1f381}\n\"quoted\""});
    app.event("lucky-draw", json!({"weights": weights}), changes).await
}

/// Pending claims that one round of the worker decides, so that they share a signature.
async fn claim_together(app: &TestApp, event: &Value) -> (Working, Vec<String>) {
    let mut requests = Vec::new();
    for user in app.crowd(TOGETHER + 1).await {
        let claim = app.claim(&user.token, event).header("prefer", "respond-async");
        requests.push(claim.send().await.expect(202));
    }
    let working = Working::start(app);
    for request in &requests {
        assert_eq!(decided(app, request).await["status"], "GRANTED");
    }
    (
        working,
        each(&json!(requests), "id").into_iter().map(str::to_owned).collect(),
    )
}

async fn reverse(app: &TestApp, request: &str) {
    let reversal = app.post(&format!("/reward-requests/{request}/reversal"));
    let reversal = reversal
        .bearer(&app.operator().await)
        .json(&json!({"reason": "Returned"}));
    reversal.send().await.expect(201);
}

async fn receipt_keys(app: &TestApp) -> Value {
    app.get("/.well-known/receipt-keys.json").send().await.expect(200)
}

/// A webhook, one after the rotation of the secret, the secret before it and the one after it.
async fn webhooks(app: &TestApp, event: &Value) -> [Value; 4] {
    let receiver = Receiver::start().await;
    let created = webhook_endpoints::endpoint(app, &receiver, &["reward.granted"]).await;
    let claim = async || {
        let token = app.token(Role::User).await;
        app.claim(&token, event).send().await.expect(201);
    };
    claim().await;
    receiver.wait_for(1).await;
    let rotation = app.post(&format!("{}/secret", webhook_endpoints::path(&created)));
    let rotated = rotation.bearer(&app.operator().await).send().await.expect(200);
    claim().await;
    let got = receiver.wait_for(2).await;
    [
        webhook(&got[0]),
        webhook(&got[1]),
        created["secret"].clone(),
        rotated["secret"].clone(),
    ]
}

fn webhook(got: &Got) -> Value {
    let headers: BTreeMap<&str, &str> = got
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
        .collect();
    json!({"headers": headers, "body": String::from_utf8_lossy(&got.body)})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_typescript_client_passes_its_tests() {
    let served = Served::start().await;
    let (folder, fixture) = (served.folder(), served.fixture.clone());
    let tests = tokio::task::spawn_blocking(move || {
        let tools = tool("MEED_TEST_CLIENT_TOOLS");
        let package = pack("typescript", &tools, &folder, ".tgz");
        let app = folder.join("app");
        copy(
            "typescript",
            &["README.md", "examples", "test", "tsconfig.json", "tsconfig.test.json"],
            &app,
        );
        fs::write(app.join("package.json"), r#"{"type": "module"}"#).expect("a file");
        let installed = app.join("node_modules/@meed/client");
        fs::create_dir_all(&installed).expect("a folder");
        symlink(tools.join("@types"), app.join("node_modules/@types")).expect("a link");
        run(Command::new("tar")
            .args(["--extract", "--gzip", "--strip-components=1", "--file"])
            .arg(package)
            .arg("--directory")
            .arg(installed));
        run(Command::new(tools.join(".bin/tsc"))
            .current_dir(&app)
            .args(["--project", "tsconfig.test.json"]));
        run(Command::new("sh")
            .current_dir(&app)
            .env("MEED_CLIENT_FIXTURE", fixture)
            .args(["-c", "node --test --test-reporter=tap build/test/*.test.js"]))
    });
    let output = tests.await.expect("an end");
    assert!(count(&output, "# pass ") > TESTS, "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_passes_its_tests() {
    let served = Served::start().await;
    let (folder, fixture) = (served.folder(), served.fixture.clone());
    let tests = tokio::task::spawn_blocking(move || {
        let python = tool("MEED_TEST_PYTHON_CLIENT_TOOLS");
        let package = pack("python", &python, &folder, ".whl");
        let app = folder.join("app");
        copy("python", &["README.md", "examples", "pyproject.toml", "tests"], &app);
        let python = |arguments: &[&str]| {
            let mut command = Command::new(&python);
            command.current_dir(&app).env("PYTHONPATH", "src").args(arguments);
            command
        };
        run(python(&["-m", "zipfile", "--extract"]).arg(package).arg("src"));
        run(&mut python(&["-m", "mypy"]));
        run(python(&[
            "-m",
            "unittest",
            "discover",
            "--top-level-directory",
            ".",
            "--start-directory",
            "tests",
        ])
        .env("MEED_CLIENT_FIXTURE", fixture))
    });
    let output = tests.await.expect("an end");
    assert!(count(&output, "\nRan ") > TESTS, "{output}");
}
