//! Fixtures for claims: plugins, rewards, events, and logged-in users.

use std::path::PathBuf;

use meed_host::auth::Role;
use meed_host::contract::{Outcome, Reason};
use meed_host::plugins::{PluginVersion, Uploaded};
use serde_json::{Value, json};

use super::client::{Call, Reply};
use super::{TestApp, TestUser};
use crate::guests::Condition;

/// The bytes of a plugin of `plugins/`, built by `cargo xtask plugins`.
pub fn bundled(name: &str) -> Vec<u8> {
    let directory = std::env::var("MEED_TEST_PLUGINS")
        .expect("MEED_TEST_PLUGINS is not set: run the tests with `cargo xtask test`, which builds the plugins");
    let path = PathBuf::from(directory).join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask test`", path.display()))
}

/// The same plugin with different bytes: with an additional custom section, which has no effect.
pub fn padded(mut module: Vec<u8>, note: &str) -> Vec<u8> {
    let length = u8::try_from(note.len()).expect("a short note");
    module.extend([0, length + 1 + 4, 4]);
    module.extend(b"note");
    module.extend(note.as_bytes());
    module
}

/// A guest with this name, without queries, that grants everything. Tests can change it.
pub fn guest(name: &str) -> Condition {
    let mut guest = Condition::default();
    name.clone_into(&mut guest.manifest.name);
    if let (Ok(binding), Ok(decision)) = (&mut guest.binding, &mut guest.decision) {
        binding.queries.clear();
        decision.awards = meed_host::contract::Awards::All;
    }
    guest
}

/// A guest with this name that leaves every claim to a person, with a reason.
pub fn reviewing(name: &str) -> Condition {
    let mut guest = guest(name);
    if let Ok(decision) = &mut guest.decision {
        decision.outcome = Outcome::NeedsReview;
        decision.reasons = vec![Reason {
            code: "large-amount".to_owned(),
            message: "Amounts above 500 need a review.".to_owned(),
            args: [("limit".to_owned(), "500".to_owned())].into(),
        }];
    }
    guest
}

#[track_caller]
pub fn text<'a>(body: &'a Value, member: &str) -> &'a str {
    body[member]
        .as_str()
        .unwrap_or_else(|| panic!("{member} is no text in {body:#}"))
}

/// The same member of every object in a list.
#[track_caller]
pub fn each<'a>(list: &'a Value, member: &str) -> Vec<&'a str> {
    let items = list.as_array().unwrap_or_else(|| panic!("no list: {list:#}"));
    items.iter().map(|item| text(item, member)).collect()
}

/// Asserts that the request was rejected because of the field at this JSON Pointer.
#[track_caller]
pub fn assert_fault(reply: Reply, pointer: &str) {
    let problem = reply.expect_problem(422, "invalid-body");
    assert!(
        each(&problem["errors"], "pointer").contains(&pointer),
        "{pointer} is not in {problem:#}"
    );
}

/// Replaces members of `body` by those of `changes`.
pub fn with(mut body: Value, changes: Value) -> Value {
    let members = body.as_object_mut().expect("an object");
    let Value::Object(changes) = changes else {
        panic!("no object: {changes}")
    };
    members.extend(changes);
    body
}

impl TestApp {
    pub fn delete(&self, path: &str) -> Call {
        self.call("DELETE", path)
    }

    /// Creates a session with an `auth.login` at the current time, and returns its access token.
    pub async fn log_in(&self, user: &TestUser) -> String {
        let id = user.id.parse().expect("an id");
        self.app
            .logins
            .open_session(id, None)
            .await
            .expect("a session")
            .access_token
    }

    /// The token of the same operator on every call.
    pub async fn operator(&self) -> String {
        let operator = self.operator.get_or_init(|| self.user(Role::Operator)).await;
        self.log_in(operator).await
    }

    /// The token of the same auditor on every call.
    pub async fn auditor(&self) -> String {
        let auditor = self.auditor.get_or_init(|| self.user(Role::Auditor)).await;
        self.log_in(auditor).await
    }

    /// Many logged-in USERs. They share one password hash, because hashing a password for each would take too long.
    pub async fn crowd(&self, size: usize) -> Vec<TestUser> {
        const SQL: &str = "INSERT INTO users \
            (id, email, password_hash, role, invite_code, invited_by, disabled, created_at) \
            SELECT $1, $2, password_hash, role, $3, NULL, disabled, created_at FROM users WHERE id = $4";
        let first = self.user(Role::User).await;
        let first_id: uuid::Uuid = first.id.parse().expect("an id");
        let mut crowd = vec![first];
        for number in 1..size {
            let id = self.clock.new_id();
            let (email, invite_code) = (format!("crowd-{number}@example.com"), format!("CROWD{number:05}"));
            let mut tx = self.app.db.begin().await.expect("a transaction");
            let insert = tx.query(SQL).bind(id).bind(email.clone()).bind(invite_code.clone());
            insert.bind(first_id).execute(&mut tx).await.expect("a user");
            tx.commit().await.expect("a commit");
            let tokens = self.app.logins.open_session(id, None).await.expect("a session");
            crowd.push(TestUser {
                id: id.to_string(),
                email,
                token: tokens.access_token,
                refresh_token: tokens.refresh_token,
                invite_code,
                ..crowd[0].clone()
            });
        }
        crowd
    }

    /// Installs a bundled plugin.
    pub async fn install(&self, module: Vec<u8>) -> PluginVersion {
        match self.app.plugins.upload(module, None).await.expect("a plugin") {
            Uploaded::New(version) | Uploaded::Existing(version) => version,
        }
    }

    pub async fn upload(&self, module: Vec<u8>) -> Reply {
        let token = self.operator().await;
        self.post("/plugins")
            .bearer(&token)
            .bytes("application/wasm", module)
            .send()
            .await
    }

    /// Disables or enables a version.
    pub async fn set_plugin(&self, name: &str, version: &str, state: &str) {
        let token = self.operator().await;
        let path = format!("/plugins/{name}/versions/{version}");
        let call = self.patch(&path).bearer(&token).json(&json!({"state": state}));
        assert_eq!(call.send().await.expect(200)["state"], state);
    }

    pub async fn reward(&self, body: Value) -> Value {
        let token = self.operator().await;
        let call = self.post("/rewards").bearer(&token).json(&body);
        call.send().await.expect(201)
    }

    /// The body of an event that runs from February to May, with a new reward.
    pub async fn event_body(&self, plugin: &PluginVersion, params: Value, changes: Value) -> Value {
        let mut body = json!({
            "title": "An event",
            "startDate": "2026-02-01T00:00:00Z",
            "endDate": "2026-06-01T00:00:00Z",
            "timeZone": "UTC",
            "condition": {"plugin": plugin.name, "version": plugin.version, "params": params},
        });
        if changes.get("rewardIds").is_none() {
            let reward = self.reward(json!({"type": "POINT", "value": 100})).await;
            body["rewardIds"] = json!([reward["id"]]);
        }
        with(body, changes)
    }

    /// The body of an event with the plugin of this name and version.
    pub async fn event_body_of(&self, name: &str, version: &str) -> Value {
        let plugin = self.app.plugins.version(name, version).await.expect("a plugin");
        self.event_body(&plugin, json!({}), json!({})).await
    }

    pub async fn create_event(&self, body: &Value) -> Reply {
        let token = self.operator().await;
        self.post("/events").bearer(&token).json(body).send().await
    }

    /// Creates an event with this plugin.
    pub async fn event_on(&self, plugin: &PluginVersion, params: Value, changes: Value) -> Value {
        let body = self.event_body(plugin, params, changes).await;
        self.create_event(&body).await.expect(201)
    }

    /// Creates an event with a plugin of `plugins/`.
    pub async fn event(&self, plugin: &str, params: Value, changes: Value) -> Value {
        let plugin = self.install(bundled(plugin)).await;
        self.event_on(&plugin, params, changes).await
    }

    /// Changes an event from an earlier response.
    pub async fn change_event(&self, event: &Value, changes: Value) -> Reply {
        let token = self.operator().await;
        let path = format!("/events/{}", text(event, "id"));
        let etag = format!("\"{}\"", event["revision"]);
        let body = with(event_input(event), changes);
        let call = self.put(&path).bearer(&token).header("if-match", &etag);
        call.json(&body).send().await
    }

    pub fn claim(&self, token: &str, event: &Value) -> Call {
        let body = json!({"eventId": event["id"]});
        self.post("/reward-requests").bearer(token).json(&body)
    }

    /// The response to an operator's GET.
    pub async fn read(&self, path: &str) -> Value {
        let token = self.operator().await;
        self.get(path).bearer(&token).send().await.expect(200)
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        let (count,): (i64,) = self.app.db.query(sql).fetch_one(&self.app.db).await.expect(sql);
        count
    }
}

/// The part of an event response that is a valid request body.
pub fn event_input(event: &Value) -> Value {
    const MEMBERS: [&str; 13] = [
        "title",
        "description",
        "startDate",
        "endDate",
        "isActive",
        "tags",
        "rewardIds",
        "timeZone",
        "recurrence",
        "budget",
        "group",
        "maxQuantity",
        "respondAsync",
    ];
    let mut input: Value = MEMBERS
        .iter()
        .map(|member| ((*member).to_owned(), event[*member].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    input["condition"] = event["condition"].clone();
    input["condition"]
        .as_object_mut()
        .expect("a condition")
        .remove("digest");
    input
}
