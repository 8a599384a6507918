//! Creates users, events and rewards, and determines which user claims which event in each turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _};
use meed_host::app::App;
use meed_host::auth::Role;
use meed_host::clock::Clock;
use meed_host::plugins::Uploaded;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cpu::Cpu;
use crate::fleet::{self, Fleet};
use crate::load::{Claim, Load, Measured, Turn};

/// Concurrent logins.
const OPENING: usize = 16;

const DAY: Duration = Duration::from_hours(24);

pub(crate) struct Fixtures {
    tokens: Vec<Arc<str>>,
    spread: Vec<Arc<str>>,
    hot: Arc<str>,
    sold_out: Arc<str>,
    rejecting: Arc<str>,
    operator: Operator,
}

struct Operator {
    client: reqwest::Client,
    api: String,
    token: String,
}

impl Fixtures {
    pub(crate) async fn build(fleet: &Fleet, users: usize, events: usize) -> anyhow::Result<Self> {
        let app = fleet.app().await?;
        let first_come = install(&app, "first-come").await?;
        let activity_count = install(&app, "activity-count").await?;
        let create = |name: &'static str, role| meed::user::create(&app.users, name, "a long password".into(), role);
        let operator = create("operator@example.com", Role::Operator).await?;
        let user = create("user@example.com", Role::User).await?;
        let operator = Operator {
            client: reqwest::Client::new(),
            api: format!("http://{}", fleet.first()[0]),
            token: app.logins.open_session(operator.id, None).await?.access_token,
        };
        let tokens = futures_util::stream::iter(0..users)
            .map(|number| open_session(&app, user.id, number))
            .buffered(OPENING)
            .try_collect()
            .await?;

        let many = json!({"type": "POINT", "value": 10, "stock": 1_000_000_000});
        let mut spread = Vec::new();
        for _ in 0..events {
            spread.push(operator.event(&first_come, &json!({}), &many).await?);
        }
        let gone = json!({"type": "POINT", "value": 10, "stock": 0});
        let params = json!({"kind": "shop.purchase", "count": 5});
        Ok(Self {
            hot: operator.event(&first_come, &json!({}), &many).await?,
            sold_out: operator.event(&first_come, &json!({}), &gone).await?,
            rejecting: operator.event(&activity_count, &params, &many).await?,
            tokens,
            spread,
            operator,
        })
    }

    /// Each connection has different users, so that claims of one user never overlap.
    fn token(&self, turn: Turn) -> Arc<str> {
        let own = self.tokens.len() / turn.connections;
        Arc::clone(&self.tokens[turn.connection * own + turn.number % own])
    }

    #[expect(clippy::unnecessary_wraps, reason = "one shape for all")]
    fn claim(&self, turn: Turn, event_id: &Arc<str>) -> Option<Claim> {
        Some(Claim {
            token: self.token(turn),
            event_id: Arc::clone(event_id),
            may_wait: false,
        })
    }

    pub(crate) fn spread(&self, turn: Turn) -> Option<Claim> {
        // A stride that is coprime to the number of events, so that consecutive claims are on distant events.
        let event = (turn.connection * 7919 + turn.number * 104_729) % self.spread.len();
        self.claim(turn, &self.spread[event])
    }

    pub(crate) fn on_hot_event(&self, turn: Turn) -> Option<Claim> {
        self.claim(turn, &self.hot)
    }

    /// Few users who claim repeatedly.
    pub(crate) fn on_sold_out_event(&self, turn: Turn) -> Option<Claim> {
        let number = turn.number % 10;
        self.claim(Turn { number, ..turn }, &self.sold_out)
    }

    pub(crate) fn rejected(&self, turn: Turn) -> Option<Claim> {
        self.claim(turn, &self.rejecting)
    }

    /// First claims: each round creates an event, and each user claims it once.
    pub(crate) async fn first_sold_out(&self, load: &Load, servers: &[String]) -> anyhow::Result<Measured> {
        let gone = json!({"type": "POINT", "value": 10, "stock": 0});
        let mut events = Vec::new();
        for _ in 0..20 {
            events.push(self.operator.event("first-come", &json!({}), &gone).await?);
        }
        let own = self.tokens.len() / load.connections;
        load.run(servers, |turn| {
            let event = events.get(turn.number / own)?;
            self.claim(turn, event)
        })
        .await
    }

    /// Each user claims a new event once, asynchronously. The rate is that of decisions, from the first claim to the
    /// last decision; the latency is that of the responses.
    pub(crate) async fn rush(&self, load: &Load, fleet: &Fleet) -> anyhow::Result<Measured> {
        let app = fleet.app().await?;
        let many = json!({"type": "POINT", "value": 10, "stock": 1_000_000_000});
        let event = self.operator.event("first-come", &json!({}), &many).await?;
        let own = self.tokens.len() / load.connections;
        let (before, started) = (Cpu::now(), Instant::now());
        let one = fleet.first();
        let answered = load.run(&one, |turn| {
            let may_wait = true;
            let claim = self.claim(turn, &event).filter(|_| turn.number < own)?;
            Some(Claim { may_wait, ..claim })
        });
        let answered = answered.await?;
        loop {
            const WAITING: &str = "SELECT COUNT(*) FROM pending_claims";
            let (waiting,): (i64,) = app.db.query(WAITING).fetch_one(&app.db).await?;
            if waiting == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok(Measured {
            per_second: answered.answers as f64 / started.elapsed().as_secs_f64(),
            cpu: (Cpu::now() - before).each(answered.answers),
            ..answered
        })
    }

    /// The length of the receipt of a grant.
    pub(crate) async fn receipt_bytes(&self, fleet: &Fleet) -> anyhow::Result<usize> {
        let app = fleet.app().await?;
        let one = Load {
            connections: 1,
            seconds: Duration::from_millis(200),
            per_second: None,
        };
        one.run(&fleet.first(), |turn| self.on_hot_event(turn))
            .await?
            .granted()?;
        let (bytes,): (i64,) = app
            .db
            .query("SELECT CAST(MAX(LENGTH(receipt)) AS BIGINT) FROM reward_requests")
            .fetch_one(&app.db)
            .await?;
        Ok(usize::try_from(bytes)?)
    }
}

impl Operator {
    /// An event with its own reward, which each user can be granted a thousand times.
    async fn event(&self, plugin: &str, params: &Value, reward: &Value) -> anyhow::Result<Arc<str>> {
        let reward = self.post("/rewards", reward).await?;
        let now = Clock::System.now();
        let event = json!({
            "title": "An event",
            "startDate": now.minus(DAY),
            "endDate": now.plus(DAY),
            "timeZone": "UTC",
            "condition": {"plugin": plugin, "version": "1.0.0", "params": params},
            "recurrence": {"period": "ONCE", "count": 1000},
            "rewardIds": [reward["id"]],
        });
        let event = self.post("/events", &event).await?;
        Ok(event["id"].as_str().context("an id")?.into())
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let reply = self
            .client
            .post(format!("{}{path}", self.api))
            .bearer_auth(&self.token)
            .json(body)
            .send()
            .await?;
        let status = reply.status();
        let body: Value = reply.json().await?;
        anyhow::ensure!(status.is_success(), "{path}: {status} {body:#}");
        Ok(body)
    }
}

async fn install(app: &App, name: &str) -> anyhow::Result<String> {
    let path = fleet::variable("MEED_TEST_PLUGINS")?.join(format!("{name}.wasm"));
    let module = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let (Uploaded::New(version) | Uploaded::Existing(version)) = app.plugins.upload(module, None).await?;
    Ok(version.name)
}

/// Copies this user, because hashing a password per user would take longer than the measurement. Returns the access
/// token of the new user.
async fn open_session(app: &App, like: Uuid, number: usize) -> anyhow::Result<Arc<str>> {
    const SQL: &str = "INSERT INTO users \
        (id, email, password_hash, role, invite_code, invited_by, disabled, created_at) \
        SELECT $1, $2, password_hash, role, $3, NULL, disabled, created_at FROM users WHERE id = $4";
    let id = app.clock.new_id();
    let mut tx = app.db.begin().await?;
    tx.query(SQL)
        .bind(id)
        .bind(format!("crowd-{number}@example.com"))
        .bind(format!("CROWD{number:06}"))
        .bind(like)
        .execute(&mut tx)
        .await?;
    tx.commit().await?;
    Ok(app.logins.open_session(id, None).await?.access_token.into())
}
