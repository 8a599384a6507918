//! Measures whether an operation takes longer in a fuller database.
//!
//! `cargo xtask bench fill` starts real servers on PostgreSQL and on SQLite, one for each size, and fills every table that
//! grows with users and claims: users, sessions, requests, grants, messages and their deliveries, claims that wait, and the
//! audit log. Then it measures every list with every filter (from the OpenAPI document), claims, deliveries, sweeps,
//! changes, and the background tasks, size after size in each round. Ratios are of medians; the goal is at most 1.5.
//! `SIZES=1000,100000` and `ROUNDS=n` make it shorter, `ENGINES=sqlite` measures one engine.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

#[path = "../claim/fleet.rs"]
#[expect(dead_code, reason = "shared with the program `claim`, which uses all of it")]
mod fleet;
#[path = "../../../../meed/tests/it/database/plans/lists.rs"]
mod lists;
mod operations;
mod receiver;
mod report;
#[path = "../../../../meed/tests/it/database/plans/rows.rs"]
mod rows;
mod site;

use std::process::ExitCode;

use anyhow::Context as _;
use meed_host::sandbox::COMPILE_WORKER;

use operations::Operation;
use receiver::Receiver;
use report::Report;
use site::Site;

fn main() -> anyhow::Result<ExitCode> {
    // This program also runs as each server that it measures.
    if let Some("serve" | "migrate" | COMPILE_WORKER) = std::env::args().nth(1).as_deref() {
        return Ok(meed::main());
    }
    tokio::runtime::Runtime::new()?.block_on(measure())?;
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
    let sizes = text("SIZES", "1000,100000,1000000");
    let sizes: Vec<u64> = sizes
        .split(',')
        .map(|size| size.trim().parse())
        .collect::<Result<_, _>>()
        .context("SIZES")?;
    let rounds: usize = text("ROUNDS", "21").parse().context("ROUNDS")?;
    for engine in text("ENGINES", "postgres,sqlite").split(',') {
        let report = Box::pin(on(engine, &sizes, rounds)).await?;
        report.print(engine, &sizes);
    }
    Ok(())
}

async fn on(engine: &str, sizes: &[u64], rounds: usize) -> anyhow::Result<Report> {
    let receiver = Receiver::start().await?;
    let mut sites = Vec::new();
    for size in sizes {
        let started = std::time::Instant::now();
        sites.push(Box::pin(Site::build(engine, *size, &receiver)).await?);
        println!(
            "{engine}: {size} rows filled in {:.0} s",
            started.elapsed().as_secs_f64()
        );
    }
    let mut operations = Operation::all();
    operations.extend(sites[0].lists().await?.into_iter().map(Operation::List));
    let mut report = Report::default();
    for round in 0..=rounds {
        for operation in &operations {
            for (number, site) in sites.iter_mut().enumerate() {
                let took = operation.measure(site, &receiver, round).await;
                let took = took.with_context(|| format!("{} with {} rows", operation.name(), site.size()))?;
                // The first round warms caches up.
                if let Some(took) = took.filter(|_| round > 0) {
                    report.add(&operation.name(), number, took);
                }
            }
        }
        for (number, site) in sites.iter().enumerate() {
            for (task, took) in site.tasks().await? {
                if round > 0 {
                    report.add(&format!("task {task}"), number, took);
                }
            }
        }
    }
    Ok(report)
}
