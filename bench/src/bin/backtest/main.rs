//! Measures backtests: decisions per second of processor time, against the bare evaluation of the same condition.
//!
//! `cargo xtask bench backtest` fills a SQLite database with users who have 100 activities each, and runs a backtest of
//! `login-streak` against itself with other params, as `meed backtest` does: in this process, without a server. The bare rate
//! is that of evaluations of the same condition in the same sandbox, measured before each backtest, so that a ratio is of one
//! run; the aim is at least 0.5. `SIZES=10000,100000,1000000` are the activities of each backtest.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

#[path = "../claim/cpu.rs"]
#[expect(dead_code, reason = "shared with the program `claim`, which uses all of it")]
mod cpu;
mod site;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench::rules::{LOGIN_STREAK, Rule};
use meed_host::backtests::local::{Local, terms};
use meed_host::backtests::{Backtested, Population};
use meed_host::clock::Clock;
use meed_host::sandbox::{COMPILE_WORKER, compile_worker};
use serde_json::json;

use cpu::Cpu;
use site::Site;

const BARE: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    // This program also compiles plugins for itself.
    if arguments.next().as_deref() == Some(COMPILE_WORKER) {
        return Ok(compile_worker(arguments));
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure())?;
    Ok(ExitCode::SUCCESS)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a separate program without the host's settings"
)]
fn sizes() -> anyhow::Result<Vec<u64>> {
    let text = std::env::var("SIZES").unwrap_or_else(|_| "10000,100000,1000000".to_owned());
    let sizes: Result<_, _> = text.split(',').map(|size| size.trim().parse()).collect();
    sizes.context("SIZES")
}

async fn measure() -> anyhow::Result<()> {
    println!(
        "{:>11} {:>8} {:>9} {:>10} {:>10} {:>9} {:>12} {:>12} {:>9} {:>9}",
        "activities",
        "users",
        "asked",
        "evaluated",
        "seconds",
        "cpu s",
        "per cpu s",
        "bare, same",
        "ratio",
        "us/activity"
    );
    for activities in sizes()? {
        let site = Box::pin(Site::new(activities)).await?;
        let bare = bare(&site).await?;
        one(&site, activities, bare).await?;
    }
    Ok(())
}

/// Evaluations per second of processor time.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
async fn bare(site: &Site) -> anyhow::Result<f64> {
    let rule = Rule::load(&site.app.sandbox, &site::module(LOGIN_STREAK)?).await?;
    let (started, before) = (Instant::now(), Cpu::now());
    let mut count = 0_u64;
    while started.elapsed() < BARE {
        for _ in 0..100 {
            let call = site
                .app
                .sandbox
                .evaluate(&rule.plugin, &rule.context, &rule.binding.state, &rule.facts)
                .await;
            call.outcome?;
            count += 1;
        }
    }
    Ok(count as f64 / (Cpu::now() - before).client)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
async fn one(site: &Site, activities: u64, bare: f64) -> anyhow::Result<()> {
    let asked = Backtested {
        event_id: site.event,
        module: None,
        params: Some(json!({"days": 5})),
        from: Some(site::instant(0)?),
        to: Some(site::instant(site::DAYS)?),
        population: Population::All,
        sample: None,
    };
    let (started, before) = (Instant::now(), Cpu::now());
    let (terms, plugins) = terms(&site.app.db, &site.app.plugins, asked, Clock::System.now()).await?;
    let local = Local {
        db: site.app.db.clone(),
        sandbox: site.app.sandbox.clone(),
        plugins,
        secret: None,
    };
    let report = local.run(&terms, |_, _| ()).await?;
    let (elapsed, cpu) = (started.elapsed(), (Cpu::now() - before).client);
    let asked: u64 = [&report.baseline, &report.candidate]
        .iter()
        .map(|side| side.questions.asked)
        .sum();
    let evaluated: u64 = [&report.baseline, &report.candidate]
        .iter()
        .map(|side| side.questions.evaluated)
        .sum();
    let rate = evaluated as f64 / cpu;
    println!(
        "{activities:11} {:8} {asked:9} {evaluated:10} {:10.1} {cpu:9.1} {rate:12.0} {bare:12.0} {:9.2} {:9.1}",
        report.coverage.seen,
        elapsed.as_secs_f64(),
        rate / bare,
        cpu * 1e6 / activities as f64,
    );
    Ok(())
}
