//! Secrets at rest: what a copy of the database contains, moved values, and the rotation of sealing keys.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meed_host::auth::Role;
use meed_host::db::Engine;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::cli::meed;
use crate::rewards::codes::{codes, coupon};
use crate::support::{Receiver, TestApp, on_both_engines, text};
use crate::webhook_endpoints::{endpoint, path};

const SETTINGS: &[(&str, &str)] = &[("webhooks.private_networks", "127.0.0.0/8")];

/// All bytes of the database: the files of SQLite, or the output of `pg_dump`.
fn dump(app: &TestApp) -> Vec<u8> {
    match app.app.db.engine() {
        Engine::Sqlite => ["meed.db", "meed.db-wal"]
            .into_iter()
            .filter_map(|name| std::fs::read(app.directory().join(name)).ok())
            .flatten()
            .collect(),
        Engine::Postgres => {
            let programs = std::env::var("MEED_TEST_POSTGRES_BIN").expect("the tests run with `cargo xtask test`");
            let mut dump = Command::new(PathBuf::from(programs).join("pg_dump"));
            dump.args(["--inserts", "--dbname", &app.database_url()]);
            let output = dump.output().expect("pg_dump starts");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        }
    }
}

/// Whether the dump contains these bytes, as they are or in hexadecimal or base64.
fn contains(dump: &[u8], bytes: &[u8]) -> bool {
    let forms = [
        bytes.to_vec(),
        hex::encode(bytes).into_bytes(),
        STANDARD.encode(bytes).into_bytes(),
    ];
    forms
        .iter()
        .any(|form| dump.windows(form.len()).any(|window| window == form))
}

fn secret_of(endpoint: &Value) -> Vec<u8> {
    let secret = text(endpoint, "secret").strip_prefix("whsec_").expect("a secret");
    STANDARD.decode(secret).expect("base64")
}

async fn rotate(app: &TestApp, endpoint: &Value) -> Value {
    let token = app.token(Role::Admin).await;
    let call = app.post(&format!("{}/secret", path(endpoint))).bearer(&token);
    call.send().await.expect(200)
}

async fn ping(app: &TestApp, endpoint: &Value) -> Value {
    let token = app.token(Role::Admin).await;
    let call = app.post(&format!("{}/ping", path(endpoint))).bearer(&token);
    call.send().await.expect(200)
}

/// The files of the sealing keys, oldest first.
fn sealing_keys(app: &TestApp) -> Vec<PathBuf> {
    let files = std::fs::read_dir(app.keys_directory()).expect("the keys");
    let files = files.map(|file| file.expect("a file").path());
    let mut files: Vec<PathBuf> = files.filter(|file| name(file).starts_with("sealing-")).collect();
    files.sort();
    files
}

fn name(file: &Path) -> &str {
    file.file_name().and_then(|name| name.to_str()).expect("a name")
}

/// Runs `meed keys …` on the keys and the database of the test.
fn keys(app: &TestApp, verb: &str) -> String {
    let mut command = meed(app.directory());
    command
        .args(["keys", verb])
        .env("MEED__DATABASE__URL", app.database_url())
        .env("MEED__KEYS__DIRECTORY", app.keys_directory());
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[apply(on_both_engines)]
async fn a_copy_of_the_database_contains_no_secret(app: TestApp) {
    let app = app.replica(SETTINGS);
    let receiver = Receiver::start().await;
    let created = endpoint(&app, &receiver, &[]).await;
    let rotated = rotate(&app, &created).await;
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"title": "Spring", "endDate": "2026-03-02T00:00:00Z"}),
        )
        .await;
    let reward = coupon(&app, 2, json!({})).await;
    let coupons = json!({"rewardIds": [reward["id"]]});
    let coupons = app.event("first-come", json!({}), coupons).await;
    let user = app.user(Role::User).await;
    let call = app.claim(&user.token, &coupons).header("idempotency-key", "k");
    assert_eq!(call.send().await.expect(201)["grants"][0]["codes"], json!(codes(1)));
    let dumped = dump(&app);
    for code in codes(2) {
        assert!(!contains(&dumped, code.as_bytes()), "{code}");
    }
    assert!(contains(&dumped, b"Spring"), "the dump is not of this database");

    app.at("2026-03-02T00:01:00Z");
    let over = app.read(&format!("/events/{}", text(&event, "id"))).await;
    let seed = hex::decode(text(&over, "seedSecret")).expect("hexadecimal");
    let secrets = [seed, secret_of(&created), secret_of(&rotated)];
    for secret in secrets {
        assert_eq!(secret.len(), 32);
        assert!(!contains(&dumped, &secret));
    }
}

#[apply(on_both_engines)]
async fn a_sealed_value_does_not_open_in_another_row_or_column(app: TestApp) {
    let app = app.replica(SETTINGS);
    let receiver = Receiver::start().await;
    let (first, second) = (
        app.event("first-come", json!({}), json!({})).await,
        app.event("first-come", json!({}), json!({})).await,
    );
    let endpoints = [
        endpoint(&app, &receiver, &[]).await,
        endpoint(&app, &receiver, &[]).await,
    ];
    rotate(&app, &endpoints[0]).await;
    assert_eq!(ping(&app, &endpoints[0]).await["delivered"], true);
    for sql in [
        "UPDATE events SET seed_secret = (SELECT seed_secret FROM events ORDER BY id LIMIT 1)",
        "UPDATE webhook_endpoints SET secret = previous_secret WHERE previous_secret IS NOT NULL",
    ] {
        let mut tx = app.begin().await;
        tx.query(sql).execute(&mut tx).await.expect(sql);
        tx.commit().await.expect("commit");
    }
    // One of them is the row that the value belongs to.
    let token = app.operator().await;
    let read = |event: &Value| app.get(&format!("/events/{}", text(event, "id"))).bearer(&token).send();
    let mut statuses = [read(&first).await.status.as_u16(), read(&second).await.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 500]);
    let refused = ping(&app, &endpoints[0]).await;
    assert_eq!(refused["delivered"], false);
    assert!(
        text(&refused["attempt"], "error").contains("cannot be opened"),
        "{refused}"
    );
    assert_eq!(ping(&app, &endpoints[1]).await["delivered"], true);
}

#[apply(on_both_engines)]
async fn sealing_keys_are_rotated_without_a_gap(app: TestApp) {
    let app = app.replica(SETTINGS);
    let receiver = Receiver::start().await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let created = endpoint(&app, &receiver, &[]).await;
    let reward = coupon(&app, 2, json!({})).await;

    app.at("2026-03-01T12:00:10Z");
    meed::keys::generate(&app.keys_directory(), &app.clock, false).expect("new keys");
    let later = app.replica(SETTINGS);
    let fresh = later.event("first-come", json!({}), json!({})).await;
    let read = |app: &TestApp, event: &Value| {
        let path = format!("/events/{}", text(event, "id"));
        let call = app.get(&path);
        async move { call }
    };
    // The process with the old key reads what the one with the new key sealed, and the other way round.
    for (process, event) in [(&app, &fresh), (&later, &event), (&later, &fresh)] {
        let token = process.operator().await;
        let seen = read(process, event).await.bearer(&token).send().await.expect(200);
        assert_eq!(seen["seedCommitment"], event["seedCommitment"]);
    }

    assert_eq!(
        keys(&app, "reseal").split(". ").next(),
        Some("Sealed 3 secrets again"),
        "the first event, the endpoint and the key of the codes"
    );
    assert!(keys(&app, "reseal").starts_with("Sealed 0 secrets again"));
    let listed = keys(&app, "list");
    assert_eq!(listed.lines().count(), 6, "{listed}");
    std::fs::remove_file(&sealing_keys(&app)[0]).expect("the old key");
    let last = app.replica(SETTINGS);
    let seen = last.read(&format!("/events/{}", text(&event, "id"))).await;
    assert_eq!(seen["seedCommitment"], event["seedCommitment"]);
    assert_eq!(ping(&last, &created).await["delivered"], true);
    let coupons = json!({"rewardIds": [reward["id"]]});
    let coupons = last.event("first-come", json!({}), coupons).await;
    let user = last.user(Role::User).await;
    let request = last.claim(&user.token, &coupons).send().await.expect(201);
    assert_eq!(request["grants"][0]["codes"], json!(codes(1)));
    assert!(receiver.wait_for(1).await[0].is_signed_with(text(&created, "secret")));
}

#[apply(on_both_engines)]
async fn a_missing_key_is_named(app: TestApp) {
    let app = app.replica(SETTINGS);
    let receiver = Receiver::start().await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let created = endpoint(&app, &receiver, &[]).await;
    let old = sealing_keys(&app).remove(0);
    let id = {
        let listed = keys(&app, "list");
        let line = listed.lines().find(|line| line.contains(name(&old))).expect("the file");
        line.split(' ').next().expect("an id").to_owned()
    };

    std::fs::remove_file(&old).expect("the key");
    app.at("2026-03-01T12:00:10Z");
    meed::keys::generate(&app.keys_directory(), &app.clock, true).expect("a new key");
    let app = app.replica(SETTINGS);
    let token = app.operator().await;
    let refused = app
        .get(&format!("/events/{}", text(&event, "id")))
        .bearer(&token)
        .send()
        .await;
    let problem = refused.expect_problem(503, "sealing-key-missing");
    assert!(text(&problem, "detail").contains(&id), "{problem}");
    let delivered = ping(&app, &created).await;
    assert_eq!(delivered["delivered"], false, "nothing is sent unsigned");
    // A lost secret can be replaced.
    let rotated = rotate(&app, &created).await;
    assert_eq!(rotated.get("previousSecretUntil"), Some(&Value::Null));
    assert_eq!(ping(&app, &created).await["delivered"], true);
    assert!(receiver.wait_for(1).await[0].is_signed_with(text(&rotated, "secret")));
}
