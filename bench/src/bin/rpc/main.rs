//! Compares a claim and the ingestion of activities over REST, Connect and gRPC: one server, one client, one run.
//!
//! `cargo xtask bench rpc` starts a server on SQLite and sends it the same work over each protocol in turn. All requests are
//! written by hyper, so that the differences are those of the server and of the protocols, not of client libraries: 16
//! connections of HTTP/1.1, or one of HTTP/2 with 16 streams. Ratios are of medians over the rounds (`ROUNDS=n`, `SECONDS=n`).

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

#[path = "../claim/cpu.rs"]
#[allow(dead_code, reason = "`claim` needs more of it")]
mod cpu;
#[path = "../claim/fleet.rs"]
#[allow(dead_code, reason = "`claim` needs more of it")]
mod fleet;
mod site;
mod wire;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cpu::Cpu;
use fleet::Fleet;
use meed_host::sandbox::COMPILE_WORKER;
use site::Site;
use wire::{Protocol, Wire};

/// Requests at the same time.
const CONCURRENT: usize = 16;
/// Activities of a batch and of a part of a stream.
const BATCH: usize = 1_000;
/// Parts of a stream.
const PARTS: usize = 10;

fn main() -> anyhow::Result<ExitCode> {
    // This program also runs as the server that it measures.
    if let Some("serve" | "migrate" | COMPILE_WORKER) = std::env::args().nth(1).as_deref() {
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
fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Of one protocol in one round.
#[derive(Clone, Copy)]
struct Measured {
    per_second: f64,
    p50: Duration,
    /// Microseconds of the server's processor time for each.
    server: f64,
    client: f64,
}

async fn measure() -> anyhow::Result<()> {
    let rounds = number("ROUNDS", 3);
    let seconds = Duration::from_secs(number("SECONDS", 3));
    let directory = tempfile::tempdir()?;
    let database = format!("sqlite:{}", directory.path().join("meed.db").display());
    let more = [
        ("http.http2", "true".to_owned()),
        ("limits.service_key.burst", "0".to_owned()),
    ];
    let fleet = Fleet::start_with(&database, 1, &more)?;
    let site = Box::pin(Site::build(&fleet)).await?;
    println!(
        "{CONCURRENT} requests at once, {rounds} rounds of {} s each",
        seconds.as_secs()
    );
    for work in [Work::Claim, Work::Batch, Work::Stream] {
        let protocols: Vec<_> = Protocol::ALL
            .into_iter()
            .filter(|protocol| work.suits(*protocol))
            .collect();
        let mut all = vec![Vec::new(); protocols.len()];
        for _ in 0..rounds {
            for (protocol, measured) in protocols.iter().zip(&mut all) {
                measured.push(run(&site, work, *protocol, seconds).await?);
            }
        }
        report(work, &protocols, &all);
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Work {
    Claim,
    Batch,
    Stream,
}

impl Work {
    fn suits(self, protocol: Protocol) -> bool {
        // A stream of Connect over HTTP/1.1 goes in one direction at a time.
        !matches!(self, Self::Stream) || matches!(protocol, Protocol::Rest | Protocol::Grpc)
    }

    fn title(self) -> String {
        match self {
            Self::Claim => "a granted claim".to_owned(),
            Self::Batch => format!("an activity, of a batch of {BATCH}"),
            Self::Stream => format!("an activity, of a stream of {PARTS} times {BATCH}"),
        }
    }

    /// What one request counts.
    fn items(self) -> usize {
        match self {
            Self::Claim => 1,
            Self::Batch => BATCH,
            Self::Stream => BATCH * PARTS,
        }
    }

    /// Streams that a server reads at once are few, and a batch keeps the only writer of SQLite busy.
    fn concurrent(self) -> usize {
        match self {
            Self::Claim => CONCURRENT,
            Self::Batch => 4,
            Self::Stream => 2,
        }
    }
}

async fn run(site: &Site, work: Work, protocol: Protocol, seconds: Duration) -> anyhow::Result<Measured> {
    let event = site.event().await?;
    let wire = Wire::connect(&site.address, protocol).await?;
    let (before, started) = (Cpu::now(), Instant::now());
    let workers = (0..work.concurrent()).map(|worker| {
        let (mut wire, event) = (wire.another(), &event);
        async move {
            let mut connection = wire.open().await?;
            let mut latencies = Vec::new();
            while started.elapsed() < seconds {
                let sent = Instant::now();
                match work {
                    Work::Claim => connection.claim(site.user(worker, latencies.len()), event).await?,
                    Work::Batch => connection.record(&site.key, site.batch()).await?,
                    Work::Stream => connection.ingest(&site.key, (0..PARTS).map(|_| site.batch())).await?,
                }
                latencies.push(sent.elapsed());
            }
            anyhow::Ok(latencies)
        }
    });
    let latencies = futures_util::future::try_join_all(workers).await?;
    let elapsed = started.elapsed();
    let mut latencies: Vec<Duration> = latencies.into_iter().flatten().collect();
    latencies.sort_unstable();
    let items = latencies.len() * work.items();
    let cpu = (Cpu::now() - before).each(items);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(Measured {
        per_second: items as f64 / elapsed.as_secs_f64(),
        p50: latencies[latencies.len() / 2],
        server: cpu.servers,
        client: cpu.client,
    })
}

fn report(work: Work, protocols: &[Protocol], all: &[Vec<Measured>]) {
    let median = |measured: &[Measured], of: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = measured.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "\n| {} | per second | p50 ms | server µs | client µs | server : REST |",
        work.title()
    );
    println!("|---|--:|--:|--:|--:|--:|");
    let rest = median(&all[0], |measured| measured.server);
    for (protocol, measured) in protocols.iter().zip(all) {
        let server = median(measured, |measured| measured.server);
        println!(
            "| {} | {:.0} | {:.2} | {server:.2} | {:.2} | {:.2} |",
            protocol.name(),
            median(measured, |measured| measured.per_second),
            median(measured, |measured| measured.p50.as_secs_f64() * 1000.0),
            median(measured, |measured| measured.client),
            server / rest,
        );
    }
}
