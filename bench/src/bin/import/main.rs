//! Measures `meed users import` and `meed activities import` against inserts of several rows of the same data.
//!
//! `cargo xtask bench import` creates one database per engine and, in each round, imports a file of new users and one of
//! their new activities with a process of its own, as an operator does; then it inserts as many rows in transactions of
//! 1,000, into the same tables and nothing else. A ratio is of one round; the aim is at least 0.5. `ROUNDS=3`, `USERS=20000`,
//! `ACTIVITIES=100000` and `ENGINES=postgres,sqlite` are the defaults. PostgreSQL runs with `fsync`.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

#[path = "../claim/cpu.rs"]
mod cpu;
#[path = "../claim/fleet.rs"]
#[expect(dead_code, reason = "shared with the program `claim`, which uses all of it")]
mod fleet;
#[path = "../claim/load.rs"]
#[expect(dead_code, reason = "shared with the program `claim`, which uses all of it")]
mod load;
#[path = "../claim/pgbench.rs"]
#[expect(dead_code, reason = "shared with the program `claim`, which uses all of it")]
mod pgbench;
mod raw;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use meed_host::db::Db;
use meed_host::sandbox::COMPILE_WORKER;

fn main() -> anyhow::Result<ExitCode> {
    // This program also runs as the commands that it measures.
    if let Some("users" | "activities" | COMPILE_WORKER) = std::env::args().nth(1).as_deref() {
        return Ok(meed::main());
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(measure())?;
    Ok(ExitCode::SUCCESS)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a separate program without the host's settings"
)]
fn text(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

async fn measure() -> anyhow::Result<()> {
    let number = |name: &str, default: &str| text(name, default).parse::<u64>().context(name.to_owned());
    let (rounds, users) = (number("ROUNDS", "3")?, number("USERS", "20000")?);
    let activities = number("ACTIVITIES", "100000")?;
    println!(
        "{:28} {:>10} {:>10} {:>7}   (rows per second)",
        "", "insert", "import", "ratio"
    );
    for engine in text("ENGINES", "postgres,sqlite").split(',') {
        let directory = tempfile::tempdir()?;
        let url = if engine == "sqlite" {
            format!("sqlite:{}", directory.path().join("import.db").display())
        } else {
            pgbench::create_database("meed_import")?
        };
        let db = Db::connect(&url, 4).await?;
        db.migrate().await?;
        let file = directory.path().join("lines.ndjson");
        for round in 0..rounds {
            std::fs::write(&file, user_lines(round, users)?)?;
            let imported = import("users", &file, &url)?;
            let inserted = raw::users(&db, round, users).await?;
            report(&format!("{engine}, users"), users, inserted, imported);

            std::fs::write(&file, activity_lines(round, users, activities)?)?;
            let imported = import("activities", &file, &url)?;
            let inserted = raw::activities(&db, round, activities).await?;
            report(&format!("{engine}, activities"), activities, inserted, imported);
        }
        db.close().await;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn report(name: &str, rows: u64, inserted: Duration, imported: Duration) {
    let rate = |took: Duration| rows as f64 / took.as_secs_f64();
    println!(
        "{name:28} {:10.0} {:10.0} {:7.2}",
        rate(inserted),
        rate(imported),
        rate(imported) / rate(inserted)
    );
}

fn user_lines(round: u64, count: u64) -> anyhow::Result<String> {
    let mut lines = String::new();
    for number in 0..count {
        writeln!(lines, r#"{{"externalId":"customer-{round}-{number}"}}"#)?;
    }
    Ok(lines)
}

fn activity_lines(round: u64, users: u64, count: u64) -> anyhow::Result<String> {
    let mut lines = String::new();
    for number in 0..count {
        let user = number.wrapping_mul(2_654_435_761) % users;
        writeln!(
            lines,
            r#"{{"source":"shop","id":"{round}-{number}","externalUserId":"customer-{round}-{user}","kind":"shop.purchase","amount":{},"occurredAt":"2026-10-01T10:00:00Z","attributes":{{"category":"hats"}}}}"#,
            number % 1000
        )?;
    }
    Ok(lines)
}

fn import(what: &str, file: &Path, url: &str) -> anyhow::Result<Duration> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([what, "import"]).arg(file);
    command.env("MEED__DATABASE__URL", url).env("MEED__LOG__FILTER", "warn");
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let took = started.elapsed();
    ensure!(
        output.status.success(),
        "{what} import: {} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(took)
}
