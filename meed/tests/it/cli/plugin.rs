//! `meed plugin`: the commands that sign and the commands that use a server.

mod project;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use meed_host::auth::Role;
use meed_host::sandbox::Digest;
use rstest_reuse::apply;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guests::Condition;
use crate::support::{TestApp, bundled, guest, on_both_engines, padded};

fn plugin(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = super::meed(directory);
    command.arg("plugin").args(arguments).env_remove("MEED_TOKEN");
    command
}

fn text(output: &Output) -> String {
    super::text(&output.stdout) + &super::text(&output.stderr)
}

/// Runs the command with this standard input and returns its output.
fn run(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A command that reads no input may have ended already.
    stdin.write_all(input.as_bytes()).ok();
    drop(stdin);
    child.wait_with_output().expect("the command ends")
}

#[track_caller]
fn good(command: Command, input: &str) -> String {
    let output = run(command, input);
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

#[track_caller]
fn bad(command: Command, input: &str, hint: &str) {
    let output = run(command, input);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains(hint), "{hint}: {}", text(&output));
}

/// Creates `rule.wasm` and signs it with a new key; returns the public key.
fn signed(directory: &Path, module: &[u8]) -> String {
    std::fs::write(directory.join("rule.wasm"), module).expect("a file");
    let made = good(plugin(directory, &["keygen", "--no-password", "ada"]), "");
    good(plugin(directory, &["sign", "rule.wasm", "--key", "ada.key"]), "");
    made.lines().last().expect("the public key").to_owned()
}

#[test]
fn a_key_signs_with_its_password_and_is_private_to_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    std::fs::write(directory.join("rule.wasm"), bundled("first-come")).expect("a file");
    let printed = good(plugin(directory, &["keygen", "ada"]), "a password\n");
    assert!(printed.contains("ada.key") && printed.contains("RW"), "{printed}");
    let mode = std::fs::metadata(directory.join("ada.key"))
        .expect("a key")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    bad(plugin(directory, &["keygen", "ada"]), "a password\n", "ada.key");
    bad(plugin(directory, &["keygen", "bob"]), "", "--no-password");

    let sign = || plugin(directory, &["sign", "rule.wasm", "--key", "ada.key"]);
    bad(sign(), "another password\n", "ada.key");
    bad(
        plugin(directory, &["sign", "rule.wasm", "--key", "ada.pub"]),
        "a password\n",
        "ada.pub",
    );
    assert!(!directory.join("rule.wasm.minisig").exists());
    good(sign(), "a password\n");
    let signature = std::fs::read_to_string(directory.join("rule.wasm.minisig")).expect("a signature");
    assert!(
        signature.contains("trusted comment: name:first-come version:"),
        "{signature}"
    );
    std::fs::write(directory.join("noise.wasm"), "noise").expect("a file");
    bad(
        plugin(directory, &["sign", "noise.wasm", "--key", "ada.key"]),
        "a password\n",
        "not WebAssembly",
    );
}

/// `minisign -G -W` writes zeros instead of the checksum.
#[test]
fn a_key_of_the_minisign_program_signs() {
    const KEY: &str = "untrusted comment: minisign encrypted secret key\nRWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAkU451JonBMInczhxPB7LAZ5+YcnDh2P9gn3rjSvuiB2bVjpQKfJOVfL+BczClboEUCwC1ZI+7WU9zR5OwZpG9oJX76Dz11mNAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    std::fs::write(directory.join("rule.wasm"), bundled("first-come")).expect("a file");
    std::fs::write(directory.join("key"), KEY).expect("a file");
    let printed = good(plugin(directory, &["sign", "rule.wasm", "--key", "key"]), "");
    assert!(
        printed.contains("RWSRTjnUmicEwvL+BczClboEUCwC1ZI+7WU9zR5OwZpG9oJX76Dz11mN"),
        "{printed}"
    );
}

#[apply(on_both_engines)]
async fn a_module_is_uploaded_once_and_can_be_downloaded(app: TestApp) {
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    let (server, token) = (app.listen().await, app.operator().await);
    let module = bundled("first-come");
    let public = signed(directory, &module);
    let admin = app.token(Role::Admin).await;
    let key = json!({"name": "Ada", "publicKey": public});
    app.post("/plugin-keys")
        .bearer(&admin)
        .json(&key)
        .send()
        .await
        .expect(201);
    let with_token = |arguments: &[&str]| {
        let mut command = plugin(directory, arguments);
        command.env("MEED_TOKEN", &token).env("MEED_SERVER", &server);
        command
    };

    let printed = good(with_token(&["push", "rule.wasm"]), "");
    assert!(
        printed.contains("Pushed first-come 1.0.0") && printed.contains("TRUSTED, Ada"),
        "{printed}"
    );
    let printed = good(with_token(&["push", "rule.wasm"]), "");
    assert!(printed.contains("Already there: first-come 1.0.0"), "{printed}");
    assert_eq!(app.read("/plugins").await["items"].as_array().map(Vec::len), Some(1));

    let printed = good(with_token(&["pull", "first-come@1.0.0"]), "");
    assert!(printed.contains(&Digest::of(&module).to_string()), "{printed}");
    assert_eq!(
        std::fs::read(directory.join("first-come-1.0.0.wasm")).expect("a file"),
        module
    );
    good(with_token(&["pull", "first-come@1.0.0", "-o", "mine.wasm"]), "");
    assert_eq!(std::fs::read(directory.join("mine.wasm")).expect("a file"), module);

    // The server's error is printed, and the exit code is not 0.
    bad(with_token(&["pull", "first-come@9.9.9"]), "", "no-such-plugin");
    std::fs::write(directory.join("other.wasm"), padded(module, "again")).expect("a file");
    bad(with_token(&["push", "other.wasm"]), "", "plugin-version-taken");
    bad(
        with_token(&["push", "other.wasm", "--signature", "nowhere.minisig"]),
        "",
        "nowhere.minisig",
    );
    std::fs::write(directory.join("noise.wasm"), "noise").expect("a file");
    bad(with_token(&["push", "noise.wasm"]), "", "not WebAssembly");
}

#[apply(on_both_engines)]
async fn a_token_is_required_and_not_sent_over_plain_http(app: TestApp) {
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    let (server, token) = (app.listen().await, app.operator().await);
    std::fs::write(directory.join("rule.wasm"), bundled("first-come")).expect("a file");
    std::fs::write(directory.join("token"), format!("{token}\n")).expect("a file");
    let push = |arguments: &[&str]| plugin(directory, &[&["push", "rule.wasm"], arguments].concat());
    bad(push(&["--server", &server]), "", "MEED_TOKEN");
    bad(
        push(&["--server", "http://rewards.example.com", "--token-file", "token"]),
        "",
        "--insecure",
    );
    bad(push(&["--server", &server, "--token-file", "nowhere"]), "", "nowhere");
    std::fs::write(directory.join("forged"), "e30.e30.e30").expect("a file");
    bad(
        push(&["--server", &server, "--token-file", "forged"]),
        "",
        "invalid-token",
    );
    let user = app.token(Role::User).await;
    std::fs::write(directory.join("user"), user).expect("a file");
    bad(push(&["--server", &server, "--token-file", "user"]), "", "forbidden");
    good(push(&["--server", &server, "--token-file", "token"]), "");
}

#[apply(on_both_engines)]
async fn a_case_is_made_from_a_decision(app: TestApp) {
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    let (server, token) = (app.listen().await, app.operator().await);
    let event = app
        .event("login-streak", json!({"days": 7}), json!({"timeZone": "Asia/Seoul"}))
        .await;
    let user = app.user(Role::User).await;
    let claim = app.claim(&user.token, &event).send().await.expect(201);
    let id = claim["id"].as_str().expect("an id");
    let receipt = app.read(&format!("/reward-requests/{id}/receipt")).await;
    let evaluation = &receipt["receipt"]["evaluation"];

    let mut command = plugin(directory, &["case", "--request", id, "-o", "case.json"]);
    command.env("MEED_TOKEN", &token).env("MEED_SERVER", &server);
    good(command, "");
    let case: Value =
        serde_json::from_slice(&std::fs::read(directory.join("case.json")).expect("a case")).expect("JSON");
    let reward = &receipt["terms"]["rewards"][0];
    assert_eq!(
        (&case["params"], &case["facts"]),
        (&json!({"days": 7}), &evaluation["facts"])
    );
    assert_eq!(
        case["context"],
        json!({
            "now": evaluation["asOf"], "timeZone": "Asia/Seoul",
            "event": {
                "id": event["id"], "title": event["title"], "starts": event["startDate"], "ends": event["endDate"],
            },
            "user": {"id": user.id, "registered": evaluation["registered"]},
            "rewards": [{
                "id": reward["id"], "kind": reward["type"], "value": reward["value"],
                "maxQuantity": evaluation["maxQuantities"][0],
            }],
            "seed": evaluation["seed"],
        })
    );
    assert_eq!(case["expect"], json!({"decision": evaluation["outcome"]["decision"]}));
    let (used, ceiling) = (
        evaluation["fuel"].as_u64().expect("fuel"),
        case["fuelCeiling"].as_u64().expect("fuel"),
    );
    assert!(used <= ceiling && ceiling <= used + used / 20 + 100, "{used} {ceiling}");

    // From a file without a server, to standard output: the same result.
    std::fs::write(directory.join("receipt.json"), receipt.to_string()).expect("a file");
    let printed = good(plugin(directory, &["case", "--receipt", "receipt.json"]), "");
    assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON"), case);
    let passes = |module: Vec<u8>, case: &Value| {
        std::fs::write(directory.join("rule.wasm"), module).expect("a file");
        std::fs::write(directory.join("case.json"), case.to_string()).expect("a file");
        let printed = good(
            plugin(
                directory,
                &["test", "rule.wasm", "--cases", "case.json", "--code-cache", "code"],
            ),
            "",
        );
        assert!(printed.contains("0 failed"), "{printed}");
    };
    passes(bundled("login-streak"), &case);

    let module = Condition {
        evaluate: "(unreachable)",
        ..guest("failing")
    }
    .module();
    let failing = app.install(module.clone()).await;
    let event = app.event_on(&failing, json!({}), json!({})).await;
    let claim = app.claim(&user.token, &event).send().await.expect(201);
    let receipt = app
        .read(&format!(
            "/reward-requests/{}/receipt",
            claim["id"].as_str().expect("an id")
        ))
        .await;
    std::fs::write(directory.join("receipt.json"), receipt.to_string()).expect("a file");
    let printed = good(plugin(directory, &["case", "--receipt", "receipt.json"]), "");
    let case = serde_json::from_str::<Value>(&printed).expect("JSON");
    assert_eq!(
        (&case["expect"], &case["fuelCeiling"]),
        (&json!({"failure": "trap"}), &Value::Null)
    );
    passes(module, &case);

    // A rejection by the host contains no decision.
    app.set_plugin("failing", &failing.version, "DISABLED").await;
    let claim = app.claim(&user.token, &event).send().await.expect(201);
    let receipt = app
        .read(&format!(
            "/reward-requests/{}/receipt",
            claim["id"].as_str().expect("an id")
        ))
        .await;
    std::fs::write(directory.join("receipt.json"), receipt.to_string()).expect("a file");
    bad(
        plugin(directory, &["case", "--receipt", "receipt.json"]),
        "",
        "no decision to test",
    );
    assert_eq!(
        plugin(directory, &["case"]).output().expect("it ends").status.code(),
        Some(1)
    );
}

#[test]
fn inspect_checks_params_as_a_server_does() {
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    std::fs::write(directory.join("rule.wasm"), bundled("login-streak")).expect("a file");
    let inspect = |params: &str| {
        let mut command = plugin(directory, &["inspect", "rule.wasm", "--json", "--params", params]);
        command.env("MEED_CODE_CACHE", directory.join("code"));
        command
    };
    assert!(good(inspect(r#"{"days": 7}"#), "").contains("stateBytes"));
    // The schema refuses these; `bind` would not see them in production.
    bad(inspect(r#"{"days": "seven"}"#), "", "/days");
    bad(
        inspect(&format!(r#"{{"days": 7, "note": "{}"}}"#, "x".repeat(17_000))),
        "",
        "the maximum is 16384",
    );
}
