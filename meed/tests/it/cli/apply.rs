//! `meed export`, `diff` and `apply`, against real servers.

mod documents;
mod failures;
mod files;
mod prune;
mod refusals;
mod releases;
mod round_trip;

use std::path::Path;
use std::process::Output;

use meed_host::auth::Role;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{meed, output, text as utf8};
use crate::service_keys;
use crate::support::{TestApp, guest};

/// What a key needs for events, rewards and plugins.
const SCOPES: &[&str] = &[
    "events:read",
    "events:write",
    "plugins:read",
    "plugins:write",
    "rewards:read",
    "rewards:write",
];

/// A server, a token for it, and a folder for files.
struct Site {
    app: TestApp,
    address: String,
    token: String,
    folder: TempDir,
}

impl Site {
    /// With the token of an ADMIN.
    async fn new(app: &TestApp) -> Self {
        let app = app.in_real_time();
        let token = app.token(Role::Admin).await;
        Self::with_token(app, token).await
    }

    /// With a service key.
    async fn with_key(app: &TestApp, scopes: &[&str]) -> Self {
        let app = app.in_real_time();
        let token = service_keys::secret(&app, "ci", scopes).await;
        Self::with_token(app, token).await
    }

    async fn with_token(app: TestApp, token: String) -> Self {
        Self {
            address: app.listen().await,
            app,
            token,
            folder: TempDir::new().expect("a folder"),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(file), text).expect("a file");
    }

    /// Writes `rules.yaml` with these sections.
    fn rules(&self, sections: &str) {
        self.write("rules.yaml", format!("apiVersion: meed/v1\n{sections}"));
    }

    /// Runs the command against this address.
    fn run_at(&self, address: &str, arguments: &[&str]) -> Run {
        let mut command = meed(self.path());
        command
            .args(arguments)
            .env("MEED_SERVER", address)
            .env("MEED_TOKEN", &self.token);
        Run::of(&tokio::task::block_in_place(|| output(&mut command)))
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.run_at(&self.address, arguments)
    }

    fn diff(&self) -> Run {
        self.run(&["diff", "-f", "rules.yaml"])
    }

    fn apply(&self, options: &[&str]) -> Run {
        self.run(&[&["apply", "-f", "rules.yaml", "--yes"], options].concat())
    }

    /// The object with this name; null if there is none.
    async fn named(&self, path: &str, name: &str) -> Value {
        let admin = self.app.token(Role::Admin).await;
        let call = self.app.get(&format!("{path}?name={name}")).bearer(&admin);
        call.send().await.expect(200)["items"][0].clone()
    }

    /// A person changes an object.
    async fn change(&self, path: &str, object: &Value, body: Value) -> Value {
        let operator = self.app.token(Role::Operator).await;
        let path = format!("{path}/{}", object["id"].as_str().expect("an id"));
        let call = self.app.put(&path).bearer(&operator).header("if-match", "*");
        call.json(&body).send().await.expect(200)
    }

    /// Installs the plugin `always@1.2.3`, which has no params.
    async fn install(&self) {
        self.app.upload(guest("always").module()).await.expect(201);
    }
}

/// How a command ended and what it printed.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    out: String,
    all: String,
}

impl Run {
    fn of(output: &Output) -> Self {
        let out = utf8(&output.stdout);
        Self {
            code: output.status.code(),
            all: format!("{out}{}", utf8(&output.stderr)),
            out,
        }
    }

    /// Asserts the exit code, and returns what was printed to standard output.
    #[track_caller]
    fn code(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.all);
        self.out
    }

    /// Asserts an error that says all of this, and returns everything that was printed.
    #[track_caller]
    fn fails(self, hints: &[&str]) -> String {
        assert_eq!(self.code, Some(1), "{}", self.all);
        for hint in hints {
            assert!(self.all.contains(hint), "{hint:?} is not in {}", self.all);
        }
        assert!(!self.all.contains("panicked"), "{}", self.all);
        self.all
    }
}

/// One reward and one event that uses it. The event is in the far future, so every member can change.
fn pair(title: &str, stock: i64) -> String {
    format!(
        "
rewards:
  coupon: {{type: COUPON, itemId: sku-1, stock: {stock}}}
events:
  streak:
    title: {title}
    startDate: 2090-01-01T00:00:00+09:00
    endDate: 2090-02-01T00:00:00+09:00
    rewards: [coupon]
    condition: {{plugin: always@1.2.3}}
"
    )
}

fn event(title: &str, rewards: &[&Value]) -> Value {
    let ids: Vec<&Value> = rewards.iter().map(|reward| &reward["id"]).collect();
    json!({
        "title": title, "startDate": "2090-01-01T00:00:00Z", "endDate": "2090-02-01T00:00:00Z", "rewardIds": ids,
        "condition": {"plugin": "always", "version": "1.2.3"},
    })
}
