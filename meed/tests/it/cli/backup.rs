//! Makes backups of a running server as in `docs/operations.md`, restores them and serves the result.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use meed_host::auth::Role;
use meed_host::db::{Db, Engine};
use rstest_reuse::apply;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{meed, output, text as utf8};
use crate::support::{TestApp, TestUser, on_both_engines, postgres_url, text};

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}", utf8(&output.stderr));
    utf8(&output.stdout)
}

#[track_caller]
fn refused(command: &mut Command) -> String {
    let output = output(command);
    assert!(!output.status.success(), "{}", utf8(&output.stdout));
    utf8(&output.stderr)
}

fn back_up(directory: &Path, url: &str, to: &Path) -> Command {
    let mut command = meed(directory);
    command
        .args(["db", "backup", "--to"])
        .arg(to)
        .env("MEED__DATABASE__URL", url);
    command
}

/// A program of PostgreSQL, of the same release as the server.
fn program(name: &str) -> Command {
    let programs = std::env::var("MEED_TEST_POSTGRES_BIN")
        .expect("MEED_TEST_POSTGRES_BIN is not set: run the tests with `cargo xtask test`, which finds PostgreSQL");
    Command::new(PathBuf::from(programs).join(name))
}

/// Backs up a database and restores it elsewhere with the commands of the documentation.
async fn back_up_and_restore(engine: Engine, url: &str, directory: &Path) -> String {
    let file = directory.join("meed.backup");
    match engine {
        Engine::Sqlite => {
            let said = run(&mut back_up(directory, url, &file));
            assert!(said.contains("Backed up all committed data to "), "{said}");
            format!("sqlite:{}", file.display())
        }
        Engine::Postgres => {
            let restored = postgres_url().await;
            run(program("pg_dump")
                .args(["--format=custom", "--dbname", url, "--file"])
                .arg(&file));
            let mut restore = program("pg_restore");
            run(restore
                .args(["--clean", "--if-exists", "--exit-on-error", "--dbname", &restored])
                .arg(&file));
            restored
        }
    }
}

async fn claim(app: &TestApp, event: &Value) -> (TestUser, Value) {
    let user = app.user(Role::User).await;
    let request = app.claim(&user.token, event).send().await.expect(201);
    assert_eq!(request["status"], "GRANTED");
    (user, request)
}

#[apply(on_both_engines)]
async fn a_restored_backup_can_be_served(app: TestApp) {
    let directory = TempDir::new().expect("a directory");
    let event = app.event("first-come", json!({}), json!({})).await;
    let (before, granted) = claim(&app, &event).await;
    let url = app.database_url();
    let restored = back_up_and_restore(app.app.db.engine(), &url, directory.path()).await;
    let there = app.on(Db::connect(&restored, 4).await.expect("open the restored database"));
    for list in ["/reward-requests", "/events", "/rewards", "/grants", "/plugins"] {
        assert_eq!(there.read(list).await, app.read(list).await, "{list}");
    }
    // It does not contain later claims.
    let (_, since) = claim(&app, &event).await;

    let token = there.log_in(&before).await;
    let receipt = |request: &Value| format!("/reward-requests/{}/receipt", text(request, "id"));
    let kept = there.get(&receipt(&granted)).bearer(&token).send().await.expect(200);
    assert_eq!(
        kept,
        app.get(&receipt(&granted))
            .bearer(&app.log_in(&before).await)
            .send()
            .await
            .expect(200)
    );
    there
        .claim(&token, &event)
        .send()
        .await
        .expect_problem(409, "already-granted");
    let auditor = there.auditor().await;
    there
        .get(&receipt(&since))
        .bearer(&auditor)
        .send()
        .await
        .expect_problem(404, "no-such-reward-request");
    claim(&there, &event).await;
}

#[tokio::test]
async fn a_backup_is_private_to_its_owner_and_overwrites_nothing() {
    let app = TestApp::on_sqlite().await;
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("meed.backup");
    run(&mut back_up(directory.path(), &app.database_url(), &file));
    let mode = std::fs::metadata(&file).expect("the file").mode();
    assert_eq!(mode & 0o777, 0o600);
    let said = refused(&mut back_up(directory.path(), &app.database_url(), &file));
    assert!(said.contains("must not exist"), "{said}");

    let postgres = directory.path().join("postgres.backup");
    let said = refused(&mut back_up(
        directory.path(),
        "postgres://nobody@127.0.0.1:1/meed",
        &postgres,
    ));
    assert!(said.contains("pg_dump") && !postgres.exists(), "{said}");
}
