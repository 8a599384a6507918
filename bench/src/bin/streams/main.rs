//! Measures what idle streams cost: memory and processor time per listener, and the delay of a grant to its listener.
//!
//! `cargo xtask bench streams` starts a server on PostgreSQL (with `fsync`) and opens `LISTENERS=n` (10,000) streams of
//! reward requests, then as many of progress, each of a user of its own. It measures the server before and then with the
//! idle streams for `SECONDS=n`, and sends claims of some of these users, one after the other. The server and this program
//! each need an open file per stream.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

#[path = "../claim/cpu.rs"]
#[expect(dead_code, reason = "shared with the program `claim`, which uses all of it")]
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

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _};
use meed_host::config::Config;
use meed_host::http::connections::Limits;
use meed_host::sandbox::COMPILE_WORKER;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use cpu::Cpu;
use fixtures::Fixtures;
use fleet::{Fleet, variable};
use load::{Claim, Turn};

/// Streams that are opened at the same time.
const OPENING: usize = 32;
/// Claims whose delay is measured.
const CLAIMS: usize = 300;
/// How long the server rests before it is measured.
const REST: Duration = Duration::from_secs(5);

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
fn number(name: &str, default: usize) -> usize {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn measure() -> anyhow::Result<()> {
    let (listeners, seconds) = (number("LISTENERS", 10_000), number("SECONDS", 20));
    let config = Config::load(None, None, &[])?;
    // Raises the limit on open files, which the server inherits.
    Limits::new(&config.http, &config.streams);
    let settings = [
        ("http.max_connections_per_address", "1000000".to_owned()),
        ("streams.max", "1000000".to_owned()),
        // The streams stay until the end.
        ("auth.access_token_seconds", "86400".to_owned()),
    ];
    let database = variable("MEED_BENCH_POSTGRES")?.display().to_string();
    let fleet = Fleet::start_with(&database, 1, &settings)?;
    let fixtures = Box::pin(Fixtures::build(&fleet, listeners, 1)).await?;
    let address = fleet.first()[0].clone();
    let claims: Vec<Claim> = (0..listeners)
        .filter_map(|connection| {
            fixtures.on_hot_event(Turn {
                connections: listeners,
                connection,
                number: 0,
            })
        })
        .collect();

    let length = Duration::from_secs(seconds as u64);
    let none = Reading::take(length).await?;
    println!(
        "{listeners} listeners, {seconds} s each\n{:<24} {:>12} {:>16} {:>18} {:>18}",
        "", "MiB", "KiB/listener", "server ms/s", "database ms/s"
    );
    none.print("none", &none, listeners);
    let event_id = claims.first().context("a listener")?.event_id.to_string();
    let mut delays = Vec::new();
    for (name, path) in [
        ("reward requests", "/reward-requests/stream".to_owned()),
        ("progress", format!("/events/{event_id}/progress/stream")),
    ] {
        let mut streams = JoinSet::new();
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let opened = futures_util::stream::iter(claims.iter().enumerate())
            .map(|(listener, claim)| open(&address, &path, Arc::clone(&claim.token), listener))
            .buffer_unordered(OPENING)
            .try_collect::<Vec<_>>()
            .await?;
        for (listener, stream) in opened {
            streams.spawn(follow(stream, listener, arrived.clone()));
        }
        Reading::take(length).await?.print(name, &none, listeners);
        // Those of the progress claim other users' grants.
        let step = (listeners / CLAIMS).max(1);
        let offset = delays.len().min(step - 1);
        while arrivals.try_recv().is_ok() {}
        let mut found = Vec::new();
        for listener in (offset..listeners).step_by(step).take(CLAIMS) {
            found.push(delay(&address, &claims[listener], listener, &mut arrivals).await?);
        }
        delays.push((name, found));
        streams.shutdown().await;
    }
    println!(
        "\n{:<24} {:>12} {:>16} {:>18}",
        "ms after the response", "median", "p99", "max"
    );
    for (name, mut found) in delays {
        found.sort_unstable();
        let at = |percent: usize| found[(found.len() * percent / 100).min(found.len() - 1)].as_secs_f64() * 1e3;
        println!("{name:<24} {:>12.1} {:>16.1} {:>18.1}", at(50), at(99), at(100));
    }
    Ok(())
}

/// What the server uses.
struct Reading {
    bytes: f64,
    cpu: Cpu,
    length: Duration,
}

impl Reading {
    async fn take(length: Duration) -> anyhow::Result<Self> {
        tokio::time::sleep(REST).await;
        let before = Cpu::now();
        tokio::time::sleep(length).await;
        let cpu = Cpu::now() - before;
        let bytes = server_bytes().context("the memory of the server")?;
        Ok(Self { bytes, cpu, length })
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn print(&self, name: &str, none: &Self, listeners: usize) {
        let per_second = |seconds: f64| seconds * 1e3 / self.length.as_secs_f64();
        println!(
            "{name:<24} {:>12.1} {:>16.1} {:>18.1} {:>18.1}",
            self.bytes / f64::from(1 << 20),
            (self.bytes - none.bytes) / 1024.0 / listeners as f64,
            per_second(self.cpu.servers),
            per_second(self.cpu.database),
        );
    }
}

/// The resident memory of the child process.
fn server_bytes() -> Option<f64> {
    let me = std::process::id().to_string();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else {
            continue;
        };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next().map(str::to_owned)
        };
        if field("PPid:").as_deref() == Some(&me) {
            return Some(field("VmRSS:")?.parse::<f64>().ok()? * 1024.0);
        }
    }
    None
}

async fn open(address: &str, path: &str, token: Arc<str>, listener: usize) -> anyhow::Result<(usize, TcpStream)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 4096];
    let read = stream.read(&mut head).await?;
    let head = String::from_utf8_lossy(&head[..read]);
    ensure!(head.starts_with("HTTP/1.1 200"), "the stream is refused: {head}");
    Ok((listener, stream))
}

/// Reports each event.
async fn follow(mut stream: TcpStream, listener: usize, arrived: mpsc::UnboundedSender<(usize, Instant)>) {
    let mut piece = [0; 4096];
    while let Ok(read) = stream.read(&mut piece).await
        && read > 0
    {
        if piece[..read].windows(6).any(|bytes| bytes == b"event:") {
            arrived.send((listener, Instant::now())).ok();
        }
    }
}

/// The time from the response to a claim to the event of its listener.
async fn delay(
    address: &str,
    claim: &Claim,
    listener: usize,
    arrivals: &mut mpsc::UnboundedReceiver<(usize, Instant)>,
) -> anyhow::Result<Duration> {
    let mut stream = TcpStream::connect(address).await?;
    let body = format!("{{\"eventId\": \"{}\"}}", claim.event_id);
    let request = format!(
        "POST /reward-requests HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        claim.token,
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 8192];
    let read = stream.read(&mut head).await?;
    let answered = Instant::now();
    let head = String::from_utf8_lossy(&head[..read]);
    ensure!(head.starts_with("HTTP/1.1 201"), "the claim is refused: {head}");
    let wait = async {
        loop {
            let (from, at) = arrivals.recv().await.context("a stream")?;
            if from == listener {
                return anyhow::Ok(at.saturating_duration_since(answered));
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .context("the event does not arrive")?
}
