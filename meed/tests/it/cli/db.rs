//! `meed db copy` and `meed db verify`: a complete database moves to the other engine.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meed_host::auth::Role;
use meed_host::claims::SignedReceipt;
use meed_host::db::{Db, Engine};
use meed_host::outbox::topics;
use rstest_reuse::apply;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{meed, output, text as utf8};
use crate::auth::totp::enrol;
use crate::event_groups::group;
use crate::plugins::signatures::{key, signature, trust};
use crate::rewards::codes::coupon;
use crate::service_keys::create;
use crate::support::{PASSWORD, Reply, TestApp, TestUser, guest, on_both_engines, postgres_url, text};

fn sqlite_url(directory: &TempDir, name: &str) -> String {
    format!("sqlite:{}", directory.path().join(name).display())
}

fn db(directory: &Path, verb: &str, from: &str, to: &str) -> Command {
    let mut command = meed(directory);
    command.args(["db", verb, "--from", from, "--to", to]);
    command
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{}", utf8(&output.stderr));
    utf8(&output.stdout)
}

/// The error of a failing command.
#[track_caller]
fn refused(command: &mut Command) -> String {
    let output = output(command);
    assert_eq!(output.status.code(), Some(1), "{}", utf8(&output.stdout));
    utf8(&output.stderr)
}

fn migrate(directory: &Path, url: &str) {
    run(meed(directory).arg("migrate").env("MEED__DATABASE__URL", url));
}

async fn open(url: &str) -> Db {
    Db::connect(url, 8).await.expect("open the database")
}

/// An empty, migrated database of either engine.
async fn empty(engine: Engine, directory: &TempDir, name: &str) -> String {
    let url = match engine {
        Engine::Sqlite => sqlite_url(directory, name),
        Engine::Postgres => postgres_url().await,
    };
    migrate(directory.path(), &url);
    url
}

/// The names of Meed's tables, from the database's catalogue.
async fn tables(db: &Db) -> BTreeSet<String> {
    let sql = match db.engine() {
        Engine::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        Engine::Postgres => "SELECT tablename::TEXT FROM pg_tables WHERE schemaname = 'public'",
    };
    let names: Vec<(String,)> = db.query(sql).fetch_all(db).await.expect("the tables");
    let names = names.into_iter().map(|(name,)| name);
    names.filter(|name| name != "_sqlx_migrations").collect()
}

async fn count(db: &Db, table: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM {table}");
    let (count,): (i64,) = db.query_assembled(sql).fetch_one(db).await.expect("a count");
    count
}

async fn change(db: &Db, sql: &'static str) -> u64 {
    let mut tx = db.begin().await.expect("a transaction");
    let rows = tx.query(sql).execute(&mut tx).await.expect(sql);
    tx.commit().await.expect("a commit");
    rows
}

/// The data from before the move.
pub struct Past {
    user: TestUser,
    granted: Value,
    rejected: Value,
    /// The first answer under the key "before".
    answer: Reply,
    event: Value,
    pages: Vec<(String, Value)>,
}

/// An endpoint with a replay of all messages; returns the path of its deliveries.
async fn listen(app: &TestApp, operator: &str) -> String {
    let listener = json!({"url": "https://shop.example.com/meed", "types": ["reward.granted"]});
    let listener = app.post("/webhook-endpoints").bearer(operator).json(&listener);
    let listener = listener.send().await.expect(201);
    let since = app.clock.now().minus(Duration::from_mins(1));
    app.app.webhooks.replay(since).await.expect("deliveries");
    format!("/webhook-endpoints/{}/deliveries", text(&listener, "id"))
}

/// A topic, and the messages queued for it.
async fn publish(app: &TestApp) {
    let mut tx = app.begin().await;
    topics::add(&mut tx, "meed.messages", app.clock.now())
        .await
        .expect("a topic");
    tx.commit().await.expect("a commit");
    let since = app.clock.now().minus(Duration::from_mins(1));
    app.app.webhooks.replay(since).await.expect("a queue");
}

/// The grants of this request are delivered.
async fn acknowledge(app: &TestApp, operator: &str, granted: &Value) {
    let path = format!("/grants/{}/acknowledgement", text(&granted["grants"][0], "id"));
    let delivered = json!({"state": "DELIVERED", "reference": "shipment 4711"});
    app.post(&path)
        .bearer(operator)
        .json(&delivered)
        .send()
        .await
        .expect(200);
}

/// Everything so far is in the transparency log; what follows is queued.
async fn log(app: &TestApp) {
    let mut tx = app.begin().await;
    let removed = meed_host::transparency::removed(&mut tx, &app.clock, "audit-entry", uuid::Uuid::nil());
    removed.await.expect("a record of retention");
    tx.commit().await.expect("a commit");
    assert!(app.app.sequencer.append_all().await.expect("a checkpoint"));
}

/// A pending claim, and its event's queue, which no process leases.
async fn wait(app: &TestApp, user: &TestUser, event: &Value) {
    const QUEUE: &str = "INSERT INTO claim_queues (event_id, fence, lease_until) \
        SELECT event_id, 3, 0 FROM pending_claims";
    let call = app.claim(&user.token, event).header("prefer", "respond-async");
    call.header("idempotency-key", "waits").send().await.expect(202);
    assert_eq!(change(&app.app.db, QUEUE).await, 1);
}

/// An activity with unusual values.
async fn report_purchase(app: &TestApp, operator: &str, user: &TestUser) {
    let purchase = json!({
        "source": "shop", "id": "1", "userId": user.id, "kind": "shop.purchase", "occurredAt": "2026-02-28T10:00:00Z",
        "amount": -999_999_999_999_i64, "attributes": {"zebra": "\u{fc}\u{1f60a}", "ant": "1e2"},
    });
    let report = app.post("/activities").bearer(operator).json(&purchase);
    report.send().await.expect(201);
}

/// An ADMIN permits the user to set a new password.
async fn permit_reset(app: &TestApp, user: &TestUser) {
    create(app, "shop", &["activities:write"], json!({})).await;
    let admin = app.token(Role::Admin).await;
    let reset = app.post(&format!("/users/{}/password-reset", user.id)).bearer(&admin);
    reset.send().await.expect(201);
}

/// Writes rows into every table, mostly through the API.
#[expect(clippy::too_many_lines, reason = "every table, in order")]
pub async fn live(app: &TestApp) -> Past {
    const INVITE: &str = "UPDATE users SET invited_by = $1 WHERE email = $2";
    let operator = app.operator().await;
    let user = app.user(Role::User).await;
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"title": "Ein \u{1f381}", "tags": ["hüte"]}),
        )
        .await;
    app.change_event(&event, json!({"description": "changed"}))
        .await
        .expect(200);
    let limited = app
        .reward(json!({"type": "COUPON", "stock": 3, "value": 9_007_199_254_740_991_i64}))
        .await;
    let streak = app
        .event(
            "login-streak",
            json!({"days": 9}),
            json!({"rewardIds": [limited["id"]]}),
        )
        .await;

    let proposal = json!({
        "eventId": streak["id"], "eventRevision": streak["revision"], "title": "Five days",
        "condition": {"plugin": "login-streak", "version": "1.0.0", "params": {"days": 5}},
    });
    let proposed = app.post("/releases").bearer(&operator).json(&proposal);
    proposed.send().await.expect(201);
    crate::trials::streak(app, 1).shadow(app, &streak).await;
    let wrong = crate::make_goods::wrongly_granted(app).await;

    let invited = json!({"email": "invited@example.com", "password": PASSWORD, "inviteCode": user.invite_code});
    app.post("/auth/register").json(&invited).send().await.expect(201);
    // The inviter's id may be greater than the invitee's.
    app.at("2026-03-01T12:00:01Z");
    let late = app.insert_user(app.clock.now(), None).await;
    let mut tx = app.begin().await;
    let invite = tx.query(INVITE).bind(late).bind(user.email.clone());
    assert_eq!(invite.execute(&mut tx).await.expect("an invitation"), 1);
    tx.commit().await.expect("a commit");

    let id = user.id.parse().expect("an id");
    app.set_attribute(id, "level", Some("7"), app.clock.now()).await;
    app.set_attribute(id, "level", None, app.clock.now()).await;
    report_purchase(app, &operator, &user).await;
    permit_reset(app, &user).await;
    let admin = app.token(Role::Admin).await;
    enrol(app, &admin).await;
    for sql in [
        "INSERT INTO mails (id, kind, email_key, state, attempts, created_at, next_at) \
            SELECT id, 'PASSWORD_RESET', email, 'SENT', 1, 0, 0 FROM users WHERE email = 'invited@example.com'",
        "INSERT INTO fact_heads (user_id, kind, series, through_at, through_id, state) \
            SELECT id, 'auth.login', -1, -1, id, 'BUILT' FROM users WHERE email = 'invited@example.com'",
        "INSERT INTO fact_horizons (kind, until, invited_until, is_settled, scanned) \
            SELECT 'auth.old', 1, 0, TRUE, id FROM users WHERE email = 'invited@example.com'",
        "INSERT INTO fact_compactions (user_id, kind, until, compacted_at, n, sum, is_done) \
            SELECT id, 'auth.old', 1, 2, 3, 4, TRUE FROM users WHERE email = 'invited@example.com'",
        "INSERT INTO fact_marks (user_id, series, at, id, n, sum, last_at) \
            SELECT id, -1, 0, id, 1, 1, 0 FROM users WHERE email = 'invited@example.com'",
        "INSERT INTO fact_days (user_id, series, word, bits) \
            SELECT id, -1, 0, 1 FROM users WHERE email = 'invited@example.com'",
        "INSERT INTO email_confirmations (user_id, hash, expires_at) SELECT user_id, hash, expires_at FROM password_resets",
        "INSERT INTO user_erasures (user_id, requested_at, requested_by, due_at, was_disabled) \
            SELECT id, 0, id, 4102444800000, FALSE FROM users WHERE email = 'invited@example.com'",
    ] {
        assert_eq!(change(&app.app.db, sql).await, 1);
    }
    let signer = key();
    trust(app, &signer, "Ada").await;
    let module = guest("signed").module();
    let minisig = signature(&signer, &module, "name:signed version:1.2.3");
    let upload = app.post("/plugins").bearer(&operator);
    let upload = upload.header("meed-signature", &STANDARD.encode(minisig));
    upload.bytes("application/wasm", module).send().await.expect(201);

    let answer = app
        .claim(&user.token, &event)
        .header("idempotency-key", "before")
        .send()
        .await;
    let granted: Value = serde_json::from_slice(&answer.bytes).expect("JSON");
    assert_eq!(granted["status"], "GRANTED");
    let rejected = app.claim(&user.token, &streak).send().await.expect(201);
    assert_eq!(rejected["status"], "REJECTED");
    group(app, "welcome", 3).await;
    let budgeted = json!({"budget": {"period": "DAILY", "grants": 5}, "group": "welcome"});
    let budgeted = app.event("first-come", json!({}), budgeted).await;
    let other = app.user(Role::User).await;
    let taken_back = app.claim(&other.token, &budgeted).send().await.expect(201);
    let path = format!("/reward-requests/{}/reversal", text(&taken_back, "id"));
    let reverse = app.post(&path).bearer(&operator).json(&json!({"reason": "A mistake"}));
    reverse.send().await.expect(201);
    acknowledge(app, &operator, &granted).await;
    let coupons = coupon(app, 2, json!({"codesLowWater": 1})).await;
    let coupons = app.event("first-come", json!({}), json!({"rewardIds": [coupons["id"]]}));
    let coupons = coupons.await;
    app.claim(&user.token, &coupons).send().await.expect(201);
    wait(app, &other, &streak).await;
    log(app).await;
    let backtest = app.post("/backtests").bearer(&operator);
    let backtest = backtest.json(&json!({"eventId": streak["id"], "from": "2026-03-01T00:00:00Z"}));
    backtest.send().await.expect(202);
    app.app.backtests.advance().await.expect("a plan");
    crate::make_goods::proposed_for(app, &wrong).await;
    let deliveries = listen(app, &operator).await;
    publish(app).await;
    app.app.plugins.write_usage().await.expect("the usage is written");
    crate::trials::written(app).await;
    app.app
        .db
        .set_metadata("note", "here".to_owned(), app.clock.now())
        .await
        .expect("a mark");

    let mut pages = Vec::new();
    for path in [
        "/reward-requests",
        "/events",
        "/rewards",
        "/grants",
        "/plugins",
        "/webhook-endpoints",
        &deliveries,
    ] {
        let path = path.to_owned();
        pages.push((path.clone(), app.read(&path).await));
    }
    Past {
        user,
        granted,
        rejected,
        answer,
        event,
        pages,
    }
}

/// Asserts that the API still returns everything as before.
async fn recognise(app: &TestApp, past: &Past) {
    let session = app.login(&past.user.email, PASSWORD).await;
    let token = text(&session, "accessToken");
    for (path, page) in &past.pages {
        assert_eq!(app.read(path).await, *page, "{path}");
    }
    let keys = app.get("/.well-known/receipt-keys.json").send().await;
    let keys = meed_host::keys::PublicKey::of_jwks(&utf8(&keys.bytes)).expect("keys");
    for request in [&past.granted, &past.rejected] {
        let path = format!("/reward-requests/{}/receipt", text(request, "id"));
        let receipt = app.get(&path).bearer(token).send().await.expect(200);
        let receipt: SignedReceipt = serde_json::from_value(receipt).expect("a receipt");
        receipt.verify(Some(&keys)).expect("a true receipt");
    }
    let problem = app.claim(token, &past.event).send().await;
    let problem = problem.expect_problem(409, "already-granted");
    assert_eq!(problem["rewardRequestId"], past.granted["id"]);
    let replayed = app
        .claim(token, &past.event)
        .header("idempotency-key", "before")
        .send()
        .await;
    assert_eq!(
        (replayed.status, &replayed.bytes),
        (past.answer.status, &past.answer.bytes)
    );
    // The earlier session continues.
    let refresh = json!({"refreshToken": past.user.refresh_token});
    app.post("/auth/refresh").json(&refresh).send().await.expect(200);
}

#[apply(on_both_engines)]
async fn a_database_moves_to_the_other_engine_and_back(app: TestApp) {
    let directory = TempDir::new().expect("a directory");
    let past = live(&app).await;
    let (there, back) = match app.app.db.engine() {
        Engine::Sqlite => (Engine::Postgres, Engine::Sqlite),
        Engine::Postgres => (Engine::Sqlite, Engine::Postgres),
    };
    let names = tables(&app.app.db).await;
    for table in &names {
        assert!(
            count(&app.app.db, table).await > 0,
            "{table} is empty: put something into it in `live`"
        );
    }
    let first = app.database_url();
    let second = empty(there, &directory, "second.db").await;
    let refusal = refused(&mut db(directory.path(), "copy", &first, &second));
    assert!(refusal.contains("the source is in use"), "{refusal}");
    app.app.db.close().await;

    let printed = run(&mut db(directory.path(), "copy", &first, &second));
    for table in &names {
        assert!(printed.contains(&format!("copied  {table}: ")), "{table}: {printed}");
        assert!(printed.contains(&format!("same    {table}: ")), "{table}: {printed}");
    }
    let moved = open(&second).await;
    assert_eq!(tables(&moved).await, names);
    let (late,): (i64,) = moved
        .query("SELECT COUNT(*) FROM users u JOIN users i ON i.id = u.invited_by AND i.id > u.id")
        .fetch_one(&moved)
        .await
        .expect("a count");
    assert!(late >= 1);
    moved.close().await;

    // And back again, without losing anything.
    let third = empty(back, &directory, "third.db").await;
    let digests = |printed: &str| -> Vec<String> {
        printed
            .lines()
            .filter(|line| line.starts_with("same"))
            .map(str::to_owned)
            .collect()
    };
    let again = run(&mut db(directory.path(), "copy", &second, &third));
    assert_eq!(digests(&again), digests(&printed));
    let verified = run(&mut db(directory.path(), "verify", &second, &third));
    assert_eq!(digests(&verified), digests(&printed));

    recognise(&app.on(open(&second).await), &past).await;
}

#[apply(on_both_engines)]
async fn differences_are_reported_with_table_and_key(app: TestApp) {
    let directory = TempDir::new().expect("a directory");
    let past = live(&app).await;
    let there = match app.app.db.engine() {
        Engine::Sqlite => Engine::Postgres,
        Engine::Postgres => Engine::Sqlite,
    };
    let (first, second) = (app.database_url(), empty(there, &directory, "second.db").await);
    app.app.db.close().await;
    run(&mut db(directory.path(), "copy", &first, &second));
    let request = format!("user_id = {}, id = {}", past.user.id, text(&past.granted, "id"));
    for (tamper, undo, says) in [
        (
            "UPDATE reward_requests SET fuel = fuel + 1 \
                WHERE id IN (SELECT request_id FROM grants WHERE fulfilment = 'DELIVERED')",
            "UPDATE reward_requests SET fuel = fuel - 1 \
                WHERE id IN (SELECT request_id FROM grants WHERE fulfilment = 'DELIVERED')",
            format!("table reward_requests, {request}: not the same in fuel"),
        ),
        (
            "UPDATE server_metadata SET name = 'other'",
            "UPDATE server_metadata SET name = 'note'",
            "table server_metadata, name = note: missing in the target".to_owned(),
        ),
        (
            "INSERT INTO server_metadata (name, value, set_at) VALUES ('a', '', 0)",
            "DELETE FROM server_metadata WHERE name = 'a'",
            "table server_metadata, name = a: in the target only".to_owned(),
        ),
    ] {
        let db_ = open(&second).await;
        assert_eq!(change(&db_, tamper).await, 1, "{tamper}");
        db_.close().await;
        let refusal = refused(&mut db(directory.path(), "verify", &first, &second));
        assert!(refusal.contains(&says), "{says}: {refusal}");
        let db_ = open(&second).await;
        assert_eq!(change(&db_, undo).await, 1, "{undo}");
        db_.close().await;
    }
    run(&mut db(directory.path(), "verify", &first, &second));
    // It is not empty any more.
    let refusal = refused(&mut db(directory.path(), "copy", &first, &second));
    assert!(refusal.contains("the target has rows in "), "{refusal}");
}

#[apply(on_both_engines)]
async fn an_interrupted_copy_leaves_the_target_empty(app: TestApp) {
    const MANY: &str = "INSERT INTO server_metadata (name, value, set_at) \
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000) \
        SELECT 'mark ' || i, 'a value', 0 FROM n";
    let directory = TempDir::new().expect("a directory");
    live(&app).await;
    assert_eq!(change(&app.app.db, MANY).await, 40_000);
    let there = match app.app.db.engine() {
        Engine::Sqlite => Engine::Postgres,
        Engine::Postgres => Engine::Sqlite,
    };
    let (first, second) = (app.database_url(), empty(there, &directory, "second.db").await);
    app.app.db.close().await;
    let mut command = db(directory.path(), "copy", &first, &second);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the command starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok);
    let mut copied = lines.filter(|line| line.starts_with("copied"));
    assert!(copied.any(|line| line.contains("server_metadata")), "it copies");
    child.kill().expect("it runs");
    let status = child.wait().expect("it ends");
    assert!(
        status.code().is_none(),
        "it was over before it could be stopped: {status}"
    );
    let target = open(&second).await;
    for table in tables(&target).await {
        assert_eq!(count(&target, &table).await, 0, "{table}");
    }
    target.close().await;
    run(&mut db(directory.path(), "copy", &first, &second));
}

#[tokio::test]
async fn a_row_that_the_target_cannot_store_is_reported_and_nothing_is_copied() {
    let directory = TempDir::new().expect("a directory");
    let (first, second) = (
        empty(Engine::Sqlite, &directory, "first.db").await,
        empty(Engine::Postgres, &directory, "").await,
    );
    let source = open(&first).await;
    // PostgreSQL's texts hold no NUL.
    let bad = "INSERT INTO server_metadata (name, value, set_at) VALUES ('good', '', 0), ('zero', char(0), 0)";
    assert_eq!(change(&source, bad).await, 2);
    source.close().await;
    let refusal = refused(&mut db(directory.path(), "copy", &first, &second));
    assert!(
        refusal.contains("write server_metadata of the target, rows from name = good to name = zero"),
        "{refusal}"
    );
    let target = open(&second).await;
    assert_eq!(count(&target, "server_metadata").await, 0);
}

#[tokio::test]
async fn missing_and_unmigrated_databases_are_refused_without_showing_passwords() {
    let directory = TempDir::new().expect("a directory");
    let good = empty(Engine::Sqlite, &directory, "good.db").await;
    let missing = sqlite_url(&directory, "missing.db");
    let bare = postgres_url().await;
    let secret = "postgres://meed:hunter2@127.0.0.1:1/meed";
    for (from, to, says) in [
        (missing.as_str(), good.as_str(), "open the source"),
        (&good, &missing, "open the target"),
        (&good, &bare, "the target is not migrated to this release"),
        (&bare, &good, "the source is not migrated to this release"),
        (&good, secret, "open the target"),
        (
            "mysql://meed:hunter2@127.0.0.1:1/meed",
            &good,
            "must begin with sqlite: or postgres://",
        ),
    ] {
        for verb in ["copy", "verify"] {
            let refusal = refused(&mut db(directory.path(), verb, from, to));
            assert!(
                refusal.contains(says) && !refusal.contains("hunter2"),
                "{from} {to}: {refusal}"
            );
        }
    }
    assert!(!directory.path().join("missing.db").exists(), "it makes no file");
    let refusal = refused(meed(directory.path()).args(["db", "copy"]));
    assert!(refusal.contains("--from"), "{refusal}");
    // The default is the database of the settings.
    let target = empty(Engine::Postgres, &directory, "").await;
    run(meed(directory.path())
        .args(["db", "copy", "--from", &good])
        .env("MEED__DATABASE__URL", &target));
}
