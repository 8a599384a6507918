//! Candidates of releases on live claims: shadow and canary

mod canary;
mod costs;
mod limits;
mod shadow;

use meed_host::auth::Role;
use meed_host::claims::{Replay, replay};
use meed_host::events::{Candidate, EventError, Mode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::receipts::proof;
use crate::support::{TestApp, TestUser, text};

fn id(body: &Value) -> Uuid {
    text(body, "id").parse().expect("an id")
}

/// A condition that a release tries.
#[derive(Clone)]
pub(crate) struct Tried {
    release_id: Uuid,
    plugin: (String, String),
    params: Value,
}

impl Tried {
    fn new(app: &TestApp, plugin: &str, params: Value) -> Self {
        Self {
            release_id: app.app.clock.new_id(),
            plugin: (plugin.to_owned(), "1.0.0".to_owned()),
            params,
        }
    }

    async fn set(&self, app: &TestApp, event: &Value, mode: Mode) -> Result<i64, EventError> {
        let (events, (name, version)) = (&app.app.events, &self.plugin);
        let condition = app
            .app
            .plugins
            .bind(name, version, &self.params)
            .await
            .expect("a condition");
        events.prepare_candidate(id(event), &condition).await?;
        let candidate = Candidate {
            release_id: self.release_id,
            condition,
            mode,
        };
        let mut tx = app.app.db.begin().await.expect("a transaction");
        let by = self.release_id;
        let changed = events.set_candidate(&mut tx, id(event), None, candidate, by).await?;
        tx.commit().await.expect("a commit");
        events.announce(id(event)).await;
        Ok(changed.revision)
    }

    pub(crate) async fn shadow(&self, app: &TestApp, event: &Value) {
        self.set(app, event, Mode::Shadow).await.expect("a candidate");
    }

    async fn canary(&self, app: &TestApp, event: &Value, permille: u16) {
        self.set(app, event, Mode::Canary { permille })
            .await
            .expect("a candidate");
    }

    async fn clear(&self, app: &TestApp, event: &Value) {
        let mut tx = app.app.db.begin().await.expect("a transaction");
        let cleared = app
            .app
            .events
            .clear_candidate(&mut tx, id(event), self.release_id, self.release_id);
        cleared.await.expect("no candidate");
        tx.commit().await.expect("a commit");
        app.app.events.announce(id(event)).await;
    }

    async fn divergences(&self, app: &TestApp, query: &str) -> Vec<Value> {
        written(app).await;
        let page = app
            .read(&format!("/releases/{}/divergences?{query}", self.release_id))
            .await;
        page["items"].as_array().expect("items").clone()
    }

    /// The counts of the newest step.
    async fn counts(&self, app: &TestApp, arm: &str) -> Value {
        written(app).await;
        let counts = app.read(&format!("/releases/{}/counts", self.release_id)).await;
        let items = counts["items"].as_array().expect("items");
        let newest = items.iter().map(|step| step["eventRevision"].as_i64()).max().flatten();
        let found = items
            .iter()
            .find(|step| step["arm"] == arm && step["eventRevision"].as_i64() == newest);
        found.cloned().unwrap_or(Value::Null)
    }
}

/// Waits until everything that was observed is in the database.
pub(crate) async fn written(app: &TestApp) {
    app.app.claims.trials_idle().await;
    app.app.trials.write().await.expect("written");
}

async fn claim(app: &TestApp, user: &TestUser, event: &Value) -> Value {
    let reply = app.claim(&user.token, event).send().await;
    let status = reply.status.as_u16();
    assert!([200, 201].contains(&status), "{status}");
    reply.expect(status)
}

async fn receipt(app: &TestApp, request: &Value) -> Value {
    app.read(&format!("/reward-requests/{}/receipt", text(request, "id")))
        .await
}

async fn assert_replays(app: &TestApp, receipt: &Value, module: Vec<u8>) {
    let replayed = replay(&app.app.sandbox, &proof(receipt), Some(module), None).await;
    assert!(matches!(replayed, Ok(Replay::Match { .. })), "{replayed:?}");
}

/// Users who have logged in today, and nothing else.
async fn users(app: &TestApp, count: usize) -> Vec<TestUser> {
    let mut users = Vec::new();
    for _ in 0..count {
        users.push(app.user(Role::User).await);
    }
    users
}

pub(crate) fn streak(app: &TestApp, days: u32) -> Tried {
    Tried::new(app, "login-streak", json!({"days": days}))
}
