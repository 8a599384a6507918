//! Measures the cost of a claim through the whole server, and the limits of the machine.
//!
//! `cargo xtask bench claim` starts real servers on PostgreSQL (with `fsync`) and on SQLite, and sends claims from this
//! process. The same rounds measure the limits: `pgbench` with the statements of one claim in sequence, raw SQLite
//! transactions, and an axum route without a database. All processes share this machine. Ratios are of medians over the
//! rounds (`ROUNDS=n`, `SECONDS=n`). `ONLY=spread,hot` measures only the rows whose names begin with one of these words,
//! for example with a profiler.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod cpu;
mod fixtures;
mod fleet;
mod load;
mod pgbench;
mod plain;
mod raw_sqlite;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use meed_host::sandbox::COMPILE_WORKER;

use fixtures::Fixtures;
use fleet::Fleet;
use load::{Load, Measured};
use report::Report;

/// Connections of the client, and of `pgbench`.
const CONNECTIONS: usize = 64;
/// Users who claim. Each can be granted a thousand times and gets only a few grants in a run.
const USERS: usize = 8000;
const EVENTS: usize = 1000;

fn main() -> anyhow::Result<ExitCode> {
    // This program also runs as each server that it measures.
    match std::env::args().nth(1).as_deref() {
        Some("serve" | "migrate" | COMPILE_WORKER) => return Ok(meed::main()),
        Some("plain") => plain::serve()?,
        // The client uses one thread: passing a response to another thread would cost more than reading it.
        _ => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(measure())?,
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a separate program without the host's settings"
)]
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str, default: u64) -> u64 {
    text(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn measure() -> anyhow::Result<()> {
    let rounds = number("ROUNDS", 3);
    let seconds = Duration::from_secs(number("SECONDS", 4));
    let load = Load {
        connections: CONNECTIONS,
        seconds,
        per_second: None,
    };
    println!(
        "{CONNECTIONS} connections, {rounds} rounds of {} s each",
        seconds.as_secs()
    );
    Box::pin(on_postgres(&load, rounds)).await?;
    Box::pin(on_sqlite(&load, rounds)).await
}

async fn on_postgres(load: &Load, rounds: u64) -> anyhow::Result<()> {
    let database = pgbench::create_database("meed")?;
    let fleet = Fleet::start(&database, 2)?;
    let fixtures = Box::pin(Fixtures::build(&fleet, USERS, EVENTS)).await?;
    let baseline = pgbench::Baseline::build(Box::pin(fixtures.receipt_bytes(&fleet)).await?).await?;
    let plain = fleet::Plain::start()?;
    let mut report = Report::new("PostgreSQL", text("ONLY").as_deref());
    for _ in 0..rounds {
        let plain_address = [plain.address()];
        let plain = load.run(&plain_address, |turn| fixtures.on_hot_event(turn));
        report.add("axum route, no database", plain).await?;
        let naive = async { baseline.hot(load) };
        report.add("pgbench: one popular event, naive", naive).await?;
        let single_statements = async { baseline.spread(load) };
        report
            .add("pgbench: spread, single statements", single_statements)
            .await?;
        scenarios(load, &fleet, &fixtures, &mut report).await?;
        let both = fleet.addresses();
        let hot = granted(load.run(&both, |turn| fixtures.on_hot_event(turn)));
        report.add("hot event, two replicas", hot).await?;
        let spread = granted(load.run(&both, |turn| fixtures.spread(turn)));
        report.add("spread, two replicas", spread).await?;
        half_load(load, &fleet, &fixtures, &mut report).await?;
    }
    report.print();
    report.ratio(
        "hot event",
        "pgbench: one popular event, naive",
        "at least 10, stretch 20",
    );
    report.ratio("spread", "pgbench: spread, single statements", "at least 2");
    report.ratio("sold out, repeated", "axum route, no database", "at least 0.5");
    report.ratio("sold out, first", "axum route, no database", "");
    report.ratio("hot event, two replicas", "hot event", "at least 1");
    report.ratio("spread, two replicas", "spread", "at least 1");
    Ok(())
}

async fn on_sqlite(load: &Load, rounds: u64) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("meed.db");
    let fleet = Fleet::start(&format!("sqlite:{}", path.display()), 1)?;
    let fixtures = Box::pin(Fixtures::build(&fleet, USERS / 4, EVENTS / 4)).await?;
    let raw = raw_sqlite::Baseline::build(directory.path(), Box::pin(fixtures.receipt_bytes(&fleet)).await?).await?;
    let mut report = Report::new("SQLite (synchronous=FULL)", text("ONLY").as_deref());
    for _ in 0..rounds {
        report.add("raw transactions, one claim each", raw.run(load)).await?;
        scenarios(load, &fleet, &fixtures, &mut report).await?;
    }
    report.print();
    report.ratio("hot event", "raw transactions, one claim each", "");
    report.ratio("spread", "raw transactions, one claim each", "");
    Ok(())
}

/// The rows of one server.
async fn scenarios(load: &Load, fleet: &Fleet, fixtures: &Fixtures, report: &mut Report) -> anyhow::Result<()> {
    let one = fleet.first();
    let spread = granted(load.run(&one, |turn| fixtures.spread(turn)));
    report.add("spread", spread).await?;
    let hot = granted(load.run(&one, |turn| fixtures.on_hot_event(turn)));
    report.add("hot event", hot).await?;
    let alone = Load {
        connections: 1,
        ..*load
    };
    let alone = granted(alone.run(&one, |turn| fixtures.on_hot_event(turn)));
    report.add("hot event, one connection", alone).await?;
    let later = Box::pin(fixtures.rush(load, fleet));
    report.add("hot event, decided later", later).await?;
    report
        .add("sold out, first", fixtures.first_sold_out(load, &one))
        .await?;
    let repeated = load.run(&one, |turn| fixtures.on_sold_out_event(turn));
    report.add("sold out, repeated", repeated).await?;
    let rejected = load.run(&one, |turn| fixtures.rejected(turn));
    report.add("rejected", rejected).await
}

/// Fails if a response was not a grant.
async fn granted(measuring: impl Future<Output = anyhow::Result<Measured>>) -> anyhow::Result<Measured> {
    measuring.await?.granted()
}

/// Latency at a fixed rate of half of the server's maximum throughput.
async fn half_load(load: &Load, fleet: &Fleet, fixtures: &Fixtures, report: &mut Report) -> anyhow::Result<()> {
    let Some(peak) = report.last("hot event") else {
        return Ok(());
    };
    let half = Load {
        per_second: Some(peak / 2.0),
        ..*load
    };
    let one = fleet.first();
    let half = granted(half.run(&one, |turn| fixtures.on_hot_event(turn)));
    report.add("hot event, half load", half).await
}
