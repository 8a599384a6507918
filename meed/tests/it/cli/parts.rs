//! `meed backtest --export`, `meed backtest worker` and `meed backtest merge`: a backtest in parts, and on Spark.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use meed_host::canonical;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{meed, output, text as utf8};
use crate::support::{TestApp, on_both_engines, text};

/// `meed backtest`, with the database of the server.
fn backtest(app: &TestApp, event: &Value) -> Command {
    let mut command = meed(app.directory());
    command
        .args(["backtest", text(event, "id")])
        .args(["--params", r#"{"kind": "shop.purchase", "count": 1}"#])
        .env("MEED__DATABASE__URL", app.database_url())
        .env("MEED__KEYS__DIRECTORY", app.keys_directory());
    command
}

/// An event with a budget for some of its users, who bought something at different times; some of them claimed.
async fn history(app: &TestApp) -> Value {
    let changes = json!({"budget": {"grants": 9, "period": "ONCE"}});
    let event = app
        .event("activity-count", json!({"kind": "shop.purchase", "count": 2}), changes)
        .await;
    let operator = app.operator().await;
    let users = app.crowd(24).await;
    let mut activities = Vec::new();
    for (number, user) in (0_u32..).zip(&users) {
        for purchase in 0..=number % 4 {
            activities.push(json!({
                "source": "shop", "id": format!("{number}-{purchase}"), "userId": user.id, "kind": "shop.purchase",
                "occurredAt": format!("2026-02-{:02}T10:{:02}:00Z", 2 + number % 20, purchase * 7), "amount": 100,
                "attributes": {"shop": "main"},
            }));
        }
    }
    let report = app.post("/activities").bearer(&operator).json(&json!(activities));
    assert!(report.send().await.status.is_success());
    for user in users.iter().step_by(5) {
        app.claim(&user.token, &event).send().await.expect(201);
    }
    event
}

/// Writes the job, the rows and the modules; returns their folder.
fn exported(app: &TestApp, event: &Value) -> PathBuf {
    let folder = app.directory().join("job");
    let done = output(backtest(app, event).arg("--export").arg(&folder));
    assert!(done.status.success(), "{}", utf8(&done.stderr));
    folder
}

/// The digest and the canonical JSON of the report that one process makes.
fn whole(app: &TestApp, event: &Value) -> (Value, String) {
    let path = app.directory().join("whole.json");
    let done = output(backtest(app, event).arg("--json").arg(&path));
    assert!(done.status.success(), "{}", utf8(&done.stderr));
    report(&path)
}

fn report(path: &Path) -> (Value, String) {
    let signed: Value = serde_json::from_slice(&fs::read(path).expect("a report")).expect("JSON");
    (
        signed["digest"].clone(),
        canonical::to_string(&signed["report"]).expect("canonical JSON"),
    )
}

/// Runs a part with this standard input.
fn part(app: &TestApp, arguments: &[&str], paths: &[(&str, &Path)], input: &str) -> Output {
    let mut command = meed(app.directory());
    command.arg("backtest").args(arguments);
    for (name, path) in paths {
        command.arg(name).arg(path);
    }
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the command starts");
    // A part that refuses its input closes it early.
    let _ = child.stdin.take().expect("its input").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

#[apply(on_both_engines)]
async fn workers_and_merges_make_the_report_of_one_process(app: TestApp) {
    let event = history(&app).await;
    let (digest, expected) = whole(&app, &event);
    let folder = exported(&app, &event);
    let rows = fs::read_to_string(folder.join("rows.ndjson")).expect("rows");
    let user = |row: &str| serde_json::from_str::<Value>(row).expect("a row")["user"].to_string();
    let mut users: Vec<String> = rows.lines().map(user).collect();
    users.dedup();
    assert!(users.len() >= 24 && users.is_sorted());
    // Three workers, each with the users of its own.
    let parts: Vec<String> = (0..3)
        .map(|number| {
            let own =
                |row: &&str| users.iter().position(|one| *one == user(row)).map(|place| place % 3) == Some(number);
            rows.lines().filter(own).flat_map(|row| [row, "\n"]).collect()
        })
        .collect();
    let (mut job, json) = (folder.join("job.json"), app.directory().join("parts.json"));
    let mut rounds = 0;
    loop {
        rounds += 1;
        assert!(rounds <= 12, "the limits do not settle");
        let mut counted = Vec::new();
        for input in &parts {
            let done = part(&app, &["worker"], &[("--job", &job), ("--plugins", &folder)], input);
            assert!(done.status.success(), "{}", utf8(&done.stderr));
            counted.push(utf8(&done.stdout));
        }
        // The order of the parts does not matter.
        counted.reverse();
        let next = app.directory().join(format!("job-{rounds}.json"));
        let paths = [
            ("--job", &*job),
            ("--plugins", &*folder),
            ("--next", &*next),
            ("--json", &*json),
        ];
        let done = part(&app, &["merge"], &paths, &counted.concat());
        if done.status.code() == Some(0) {
            break;
        }
        assert_eq!(done.status.code(), Some(3), "{}", utf8(&done.stderr));
        // The parts of one round do not fit the job of another.
        let paths = [
            ("--job", &*next),
            ("--plugins", &*folder),
            ("--next", &*next),
            ("--json", &*json),
        ];
        let mixed = part(&app, &["merge"], &paths, &counted.concat());
        assert!(!mixed.status.success() && utf8(&mixed.stderr).contains("run all workers with the same job"));
        job = next;
    }
    assert!(rounds > 1, "the budget of this history does not matter");
    assert_eq!(report(&json), (digest, expected));
}

#[apply(on_both_engines)]
async fn a_worker_names_the_row_that_it_cannot_use(app: TestApp) {
    let event = history(&app).await;
    let folder = exported(&app, &event);
    let rows = fs::read_to_string(folder.join("rows.ndjson")).expect("rows");
    let job = folder.join("job.json");
    let refused = |input: &str, says: &str| {
        let done = part(&app, &["worker"], &[("--job", &job)], input);
        let told = utf8(&done.stderr);
        assert!(!done.status.success() && told.contains(says), "{told}");
        assert!(done.stdout.is_empty());
    };
    let backwards: String = rows.lines().rev().flat_map(|row| [row, "\n"]).collect();
    // The last rows are of one user or of two.
    refused(&backwards, "the user");
    refused(&format!("{rows}{rows}"), "sort the rows by user");
    refused("{}\n", "line 1: it is no row");
    refused(&"x".repeat(2 << 20), "line 1 is longer than");
    // A module that is not the one of the job.
    for module in fs::read_dir(&folder).expect("a folder").flatten() {
        if module.path().extension().is_some_and(|extension| extension == "wasm") {
            fs::write(module.path(), b"other").expect("a file");
        }
    }
    refused(&rows, "");
}

#[apply(on_both_engines)]
#[ignore = "needs pyspark: cargo xtask spark"]
async fn spark_makes_the_report_of_one_process(app: TestApp) {
    let python = std::env::var("MEED_TEST_SPARK").expect("MEED_TEST_SPARK: run `cargo xtask spark`");
    let event = history(&app).await;
    let (digest, expected) = whole(&app, &event);
    let folder = exported(&app, &event);
    let json = app.directory().join("spark.json");
    let submit = Path::new(&python).with_file_name("spark-submit");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/spark/backtest.py");
    let mut command = Command::new(submit);
    command
        .env("PYSPARK_PYTHON", &python)
        .env("SPARK_LOCAL_IP", "127.0.0.1")
        .args([
            "--master",
            "local-cluster[2,1,1024]",
            "--conf",
            "spark.ui.enabled=false",
        ])
        .args([
            "--conf",
            "spark.driver.host=localhost",
            "--conf",
            "spark.driver.bindAddress=127.0.0.1",
        ])
        .arg(script)
        .args([&folder, &json])
        .args(["--meed", env!("CARGO_BIN_EXE_meed"), "--partitions", "4"]);
    let done = output(&mut command);
    assert!(done.status.success(), "{}", utf8(&done.stderr));
    assert!(
        utf8(&done.stdout).contains("the limits have not settled"),
        "{}",
        utf8(&done.stdout)
    );
    assert_eq!(report(&json), (digest, expected));
}
