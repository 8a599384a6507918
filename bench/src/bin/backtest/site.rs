//! A database of one event, and users with activities.

use std::path::PathBuf;

use anyhow::Context as _;
use meed_host::app::App;
use meed_host::clock::{Clock, Timestamp};
use meed_host::config::Config;
use meed_host::db::Db;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

/// Activities of each user.
const EACH: u64 = 100;
/// The period, and over how many days the activities of a user are spread.
pub(crate) const DAYS: i64 = 60;
const BEGIN: i64 = 1_767_225_600_000;
const DAY: i64 = 86_400_000;

pub(crate) struct Site {
    pub app: App,
    pub event: Uuid,
    _directory: TempDir,
}

impl Site {
    pub(crate) async fn new(activities: u64) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let below = |name: &str| directory.path().join(name).display().to_string();
        meed::keys::generate(&directory.path().join("keys"), &Clock::System, false)?;
        let settings = [
            ("database.url", format!("sqlite:{}", below("backtest.db"))),
            ("keys.directory", below("keys")),
            ("plugins.code_cache_directory", below("code")),
            ("releases.required", "never".to_owned()),
        ];
        let config = Config::load(None, None, &settings)?;
        let db = Db::connect(&settings[0].1, 4).await?;
        db.migrate().await?;
        let app = App::new(&config, db, Clock::System, std::env::current_exe()?)?;
        let event = event(&app).await?;
        fill(&app.db, activities).await?;
        Ok(Self {
            app,
            event,
            _directory: directory,
        })
    }
}

/// A day of the period.
pub(crate) fn instant(day: i64) -> anyhow::Result<Timestamp> {
    Timestamp::from_millis(BEGIN + day * DAY).context("an instant")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a separate program without the host's settings"
)]
pub(crate) fn module(name: &str) -> anyhow::Result<PathBuf> {
    let directory = std::env::var("MEED_TEST_PLUGINS").context("run it with `cargo xtask bench backtest`")?;
    Ok(PathBuf::from(directory).join(format!("{name}.wasm")))
}

async fn event(app: &App) -> anyhow::Result<Uuid> {
    let bytes = std::fs::read(module(bench::rules::LOGIN_STREAK)?)?;
    app.plugins.upload(bytes, None).await?;
    let by = app.clock.new_id();
    let reward = json!({"type": "POINT", "value": 10, "stock": 1_000_000_000});
    let reward = app.rewards.create(serde_json::from_value(reward)?, by).await?;
    let event = json!({
        "title": "A week of logins",
        "startDate": instant(0)?,
        "endDate": instant(2 * 365)?,
        "timeZone": "Asia/Seoul",
        "condition": {"plugin": bench::rules::LOGIN_STREAK, "version": "1.0.0", "params": {"days": 7}},
        "rewardIds": [reward.id],
    });
    Ok(app.events.create(serde_json::from_value(event)?, by).await?.id)
}

/// The users are registered before the period. Their logins are at scattered instants of it, so that streaks of seven days
/// begin and end.
async fn fill(db: &Db, activities: u64) -> anyhow::Result<()> {
    const ID: &str = "unhex(printf('0000000000007000800%013x', n))";
    let users = activities / EACH;
    let numbers = |count: u64| {
        format!("(WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s)")
    };
    let statements = [
        format!(
            "INSERT INTO users (id, email, password_hash, role, invite_code, disabled, created_at) \
             SELECT {ID}, 'u' || n || '@backtest.example', '', 'USER', 'i' || n, FALSE, 0 FROM {} WHERE TRUE",
            numbers(users)
        ),
        format!(
            "INSERT INTO activities (user_id, source, source_id, id, kind, amount, attributes, occurred_at, recorded_at) \
             SELECT unhex(printf('0000000000007000800%013x', 1 + n / {EACH})), 'fill', 'a' || n, {ID}, 'auth.login', 1, '{{}}', at, at \
             FROM (SELECT n, {BEGIN} + n * 2654435761 % ({DAYS} * {DAY}) AS at FROM {}) WHERE n < {users} * {EACH}",
            numbers(activities - 1)
        ),
    ];
    for sql in statements {
        let mut tx = db.begin().await?;
        db.query_assembled(sql.clone()).execute(&mut tx).await.context(sql)?;
        tx.commit().await?;
    }
    Ok(())
}
