//! Measures the effect of a failing Redis on the latency of claims: before the failure, in its first two seconds, for
//! the rest of it, and afterwards.
//!
//! `cargo xtask bench redis` starts two servers on PostgreSQL (with `fsync`) and a Redis server, and measures their maximum
//! rate of grants. Then it sends claims at half of that rate while Redis fails in different ways. Every claim uses Redis
//! for its rate limit, the granted cache and the ranking of events. `ROUNDS=n` repeats everything and prints the medians;
//! `SECONDS=n` sets the length of each phase.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

#[path = "../claim/cpu.rs"]
mod cpu;
#[path = "../claim/fixtures.rs"]
#[expect(dead_code, reason = "shared with the program `claim`, which uses all of it")]
mod fixtures;
#[path = "../claim/fleet.rs"]
#[expect(dead_code, reason = "shared with the program `claim`, which uses all of it")]
mod fleet;
#[path = "../claim/load.rs"]
#[expect(dead_code, reason = "shared with the program `claim`, which uses all of it")]
mod load;
mod server;

use std::process::{Command, ExitCode};
use std::time::Duration;

use meed_host::sandbox::COMPILE_WORKER;

use fixtures::Fixtures;
use fleet::{Fleet, variable};
use load::{Load, Measured};
use server::{Fault, Redis};

const CONNECTIONS: usize = 64;
const USERS: usize = 4000;
/// The phases of a failure.
const BLOW: Duration = Duration::from_secs(2);
const PHASES: [&str; 4] = ["before", "first 2 s", "rest of failure", "after"];

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
fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn measure() -> anyhow::Result<()> {
    let rounds = number("ROUNDS", 3);
    let seconds = Duration::from_secs(number("SECONDS", 6));
    let mut redis = Redis::start().await?;
    let settings = [
        ("cache.url", redis.url()),
        // A limit that never refuses but uses Redis for each request.
        ("limits.user.burst", "1000000".to_owned()),
        ("limits.user.per_minute", "1000000".to_owned()),
    ];
    let fleet = Fleet::start_with(&database()?, 2, &settings)?;
    let fixtures = Box::pin(Fixtures::build(&fleet, USERS, 1)).await?;
    let servers = fleet.addresses();
    let mut load = Load {
        connections: CONNECTIONS,
        seconds,
        per_second: None,
    };
    let peak = load
        .run(&servers, |turn| fixtures.on_hot_event(turn))
        .await?
        .granted()?;
    load.per_second = Some(peak.per_second / 2.0);
    println!(
        "{CONNECTIONS} connections, two servers, {rounds} rounds; at most {:.0} grants per second, half of that from now on",
        peak.per_second
    );
    let mut rows: Vec<(Fault, [Vec<Measured>; 4])> = Fault::ALL.map(|fault| (fault, Default::default())).into();
    for _ in 0..rounds {
        for (fault, phases) in &mut rows {
            for (phase, measured) in phases.iter_mut().enumerate() {
                let load = Load {
                    seconds: if phase == 1 { BLOW } else { seconds },
                    ..load
                };
                match phase {
                    1 => redis.strike(*fault).await?,
                    3 => redis.mend(*fault).await?,
                    _ => {}
                }
                measured.push(
                    load.run(&servers, |turn| fixtures.on_hot_event(turn))
                        .await?
                        .granted()?,
                );
            }
        }
    }
    print(&rows);
    Ok(())
}

/// p50 and p99 in milliseconds, medians over the rounds.
fn print(rows: &[(Fault, [Vec<Measured>; 4])]) {
    print!("\n{:22}", "Redis is");
    for phase in PHASES {
        print!(" | {phase:>16}");
    }
    println!(" | p99 rest of failure : before");
    for (fault, phases) in rows {
        print!("{:22}", fault.name());
        let figures = phases.each_ref().map(|rounds| {
            let millis = |of: fn(&Measured) -> Duration| {
                let mut times: Vec<_> = rounds.iter().map(|round| of(round).as_secs_f64() * 1000.0).collect();
                times.sort_by(f64::total_cmp);
                times[times.len() / 2]
            };
            (millis(|round| round.p50), millis(|round| round.p99))
        });
        for (p50, p99) in figures {
            print!(" | {:>16}", format!("{p50:.1} / {p99:.1}"));
        }
        println!(" | {:.2}", figures[2].1 / figures[0].1);
    }
}

fn database() -> anyhow::Result<String> {
    let server = variable("MEED_BENCH_POSTGRES")?.display().to_string();
    let program = variable("MEED_BENCH_POSTGRES_PROGRAMS")?.join("createdb");
    let maintenance = format!("{server}/postgres");
    let output = Command::new(program)
        .args(["--maintenance-db", &maintenance, "redis"])
        .output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(format!("{server}/redis"))
}
