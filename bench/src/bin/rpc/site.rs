//! The users, the event and the service key of the measurement.

use std::cell::Cell;

use anyhow::Context as _;
use meed_host::app::App;
use meed_host::auth::Role;
use meed_host::clock::Clock;
use meed_proto::v1::Activity;
use meed_proto::v1::activity::User;
use serde_json::{Value, json};

use crate::fleet::{Fleet, variable};
use crate::{BATCH, CONCURRENT};

const DAY: std::time::Duration = std::time::Duration::from_hours(24);
/// Users of each connection, so that claims of one user never overlap.
const USERS: usize = 4;

pub(crate) struct Site {
    pub address: String,
    pub key: String,
    operator: String,
    users: Vec<(String, String)>,
    client: reqwest::Client,
    reported: Cell<usize>,
}

impl Site {
    pub(crate) async fn build(fleet: &Fleet) -> anyhow::Result<Self> {
        let app = fleet.app().await?;
        let module = std::fs::read(variable("MEED_TEST_PLUGINS")?.join("first-come.wasm"))?;
        app.plugins.upload(module, None).await?;
        let mut users = Vec::new();
        for number in 0..CONCURRENT * USERS {
            users.push(account(&app, &format!("user-{number}@example.com"), Role::User).await?);
        }
        let (_, operator) = account(&app, "operator@example.com", Role::Operator).await?;
        let (_, admin) = account(&app, "admin@example.com", Role::Admin).await?;
        let mut site = Self {
            address: fleet.first()[0].clone(),
            key: String::new(),
            operator,
            users,
            client: reqwest::Client::new(),
            reported: Cell::new(0),
        };
        let key = json!({"name": "bench", "scopes": ["activities:write"]});
        let key = site.post("/service-keys", &admin, &key).await?;
        key["secret"].as_str().context("a secret")?.clone_into(&mut site.key);
        Ok(site)
    }

    /// A new event, which each user can be granted a thousand times.
    pub(crate) async fn event(&self) -> anyhow::Result<String> {
        let reward = json!({"type": "POINT", "value": 10, "stock": 1_000_000_000});
        let reward = self.post("/rewards", &self.operator, &reward).await?;
        let now = Clock::System.now();
        let event = json!({
            "title": "An event",
            "startDate": now.minus(DAY),
            "endDate": now.plus(DAY),
            "condition": {"plugin": "first-come", "version": "1.0.0", "params": {}},
            "recurrence": {"period": "ONCE", "count": 1000},
            "rewardIds": [reward["id"]],
        });
        let event = self.post("/events", &self.operator, &event).await?;
        Ok(event["id"].as_str().context("an id")?.to_owned())
    }

    /// The token of the user of this turn.
    pub(crate) fn user(&self, worker: usize, turn: usize) -> &str {
        &self.users[worker * USERS + turn % USERS].1
    }

    /// Activities that were not reported before.
    pub(crate) fn batch(&self) -> Vec<Activity> {
        let first = self.reported.replace(self.reported.get() + BATCH);
        let activity = |number: usize| Activity {
            source: "bench".to_owned(),
            id: format!("order-{number}"),
            user: Some(User::UserId(self.users[number % self.users.len()].0.clone())),
            kind: "shop.purchase".to_owned(),
            attributes: [("category".to_owned(), "hats".to_owned())].into_iter().collect(),
            ..Activity::default()
        };
        (first..first + BATCH).map(activity).collect()
    }

    async fn post(&self, path: &str, token: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.client.post(format!("http://{}{path}", self.address));
        let reply = request.bearer_auth(token).json(body).send().await?;
        let status = reply.status();
        let body: Value = reply.json().await?;
        anyhow::ensure!(status.is_success(), "{path}: {status} {body:#}");
        Ok(body)
    }
}

/// The id and an access token.
async fn account(app: &App, email: &str, role: Role) -> anyhow::Result<(String, String)> {
    let user = meed::user::create(&app.users, email, "a long password".into(), role).await?;
    let tokens = app.logins.open_session(user.id, None).await?;
    Ok((user.id.to_string(), tokens.access_token))
}
