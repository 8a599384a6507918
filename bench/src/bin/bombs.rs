//! Measures the effect of compile bombs on a server: the duration of each upload, and the latency of other requests.
//!
//! `cargo xtask bench bombs` starts a demo and sends claims and requests for `/livez` and `/events/active`: first without
//! a bomb (`BASE`), then during the upload of each bomb of `meed/tests/it/bombs.rs`, and finally during two uploads at
//! once. Each bomb has its own `BASE`, measured right before it, so that the ratio is valid on a busy machine. `SERVER` is
//! the growth of the server's memory during the upload.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

#[path = "../../../meed/tests/it/bombs.rs"]
mod bombs;
#[expect(dead_code, reason = "the bombs use only a part of it")]
#[path = "../../../meed/tests/it/guests.rs"]
mod guests;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use meed_host::sandbox::COMPILE_WORKER;
use serde_json::{Value, json};

use bombs::Bomb;

/// The duration of a measurement without a bomb, and the minimum with one.
const WINDOW: Duration = Duration::from_secs(2);
/// The delay between two requests of one kind.
const PAUSE: Duration = Duration::from_millis(5);

fn main() -> anyhow::Result<ExitCode> {
    // This program is also the server and its compiling process.
    let command = std::env::args().nth(1);
    if command.is_some_and(|command| ["demo", COMPILE_WORKER].contains(&command.as_str())) {
        return Ok(meed::main());
    }
    tokio::runtime::Runtime::new()?.block_on(measure())?;
    Ok(ExitCode::SUCCESS)
}

async fn measure() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let server = Server::start(&directory)?;
    println!(
        "{:<24} {:>6} {:>8}  {:<32} {:>8}  {:^21}  {:^21}  {:^21}",
        "BOMB", "KIB", "UPLOAD", "ANSWER", "SERVER", "LIVEZ p50/p99 ms", "ACTIVE p50/p99 ms", "CLAIM p50/p99 ms"
    );
    let bombs = bombs::all();
    let mut worst = Duration::ZERO;
    for bomb in &bombs {
        worst = worst.max(server.bear(bomb.name, &[bomb]).await?);
    }
    let passing: Vec<_> = bombs.iter().filter(|bomb| bomb.passes).take(2).collect();
    worst = worst.max(server.bear("two at a time", &passing).await?);
    println!("The longest upload took {worst:.1?}.");
    Ok(())
}

struct Server {
    child: Child,
    api: String,
    /// An event for which the demo's user is not eligible: each claim is decided, stored and rejected.
    event: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Server {
    #[expect(
        clippy::disallowed_methods,
        reason = "a separate program without the host's settings"
    )]
    fn start(directory: &tempfile::TempDir) -> anyhow::Result<Self> {
        let plugins = std::env::var("MEED_TEST_PLUGINS").context("run it with `cargo xtask bench`")?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["demo", "--listen", "127.0.0.1:0", "--plugins", &plugins, "--data-dir"])
            .arg(directory.path())
            .env("MEED__HTTP__ADMIN_LISTEN", "")
            .env("MEED__HTTP__TIMEOUT_SECONDS", "120")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("a pipe")?)
            .lines()
            .map_while(Result::ok);
        let mut word = |line: &str, number: usize| {
            let line = lines.by_ref().find(|found| found.contains(line));
            line.and_then(|line| line.split_whitespace().nth(number).map(str::to_owned))
        };
        let api = word("  API ", 1).context("the demo prints its address")?;
        let event = word("7-day login streak", 0).context("the demo prints its events")?;
        std::thread::spawn(move || for _ in lines {});
        Ok(Self { child, api, event })
    }

    /// Uploads these modules concurrently and prints the results. Returns the duration of the slowest response.
    async fn bear(&self, name: &str, bombs: &[&Bomb]) -> anyhow::Result<Duration> {
        let probe = Arc::new(Probe {
            client: reqwest::Client::new(),
            api: self.api.clone(),
            event: self.event.clone(),
            token: self.login("user").await?,
        });
        let operator = self.login("operator").await?;
        let base = probe.sample(tokio::time::sleep(WINDOW)).await?;

        let before = self.resident()?;
        let started = Instant::now();
        let mut uploads = tokio::task::JoinSet::new();
        for bomb in bombs {
            let upload = probe
                .client
                .post(format!("{}/plugins", self.api))
                .bearer_auth(&operator);
            let upload = upload
                .header("content-type", "application/wasm")
                .body(bomb.module.clone());
            uploads.spawn(async move {
                let reply = upload.send().await?;
                let status = reply.status().as_u16();
                let body: Value = reply.json().await?;
                let text = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
                anyhow::Ok((
                    format!("{status} {} {}", text("code"), text("refusal")),
                    started.elapsed(),
                ))
            });
        }
        let mut answers = Vec::new();
        let bomb = probe.sample(async {
            while let Some(answer) = uploads.join_next().await {
                answers.push(answer);
            }
            tokio::time::sleep(WINDOW.saturating_sub(started.elapsed())).await;
        });
        let bomb = bomb.await?;
        let grown = self.resident()? - before;

        let mut last = (String::new(), Duration::ZERO);
        for answer in answers {
            last = answer??;
        }
        let bytes: usize = bombs.iter().map(|bomb| bomb.module.len()).sum();
        print!(
            "{name:<24} {:>6} {:>7.2}s  {:<32} {:>+4} MiB",
            bytes >> 10,
            last.1.as_secs_f64(),
            last.0,
            grown >> 20
        );
        for (base, bomb) in base.iter().zip(&bomb) {
            print!(
                "  {:>4.1}/{:>5.1} {:>4.1}/{:>5.1}",
                percentile(base, 50),
                percentile(base, 99),
                percentile(bomb, 50),
                percentile(bomb, 99)
            );
        }
        println!();
        Ok(last.1)
    }

    async fn login(&self, account: &str) -> anyhow::Result<String> {
        let body = json!({"email": format!("{account}@meed.example"), "password": format!("{account}-demo-password")});
        let reply = reqwest::Client::new()
            .post(format!("{}/auth/login", self.api))
            .json(&body);
        let tokens: Value = reply.send().await?.error_for_status()?.json().await?;
        Ok(tokens["accessToken"].as_str().context("a token")?.to_owned())
    }

    /// The resident memory of the server in bytes, without its compiling processes.
    fn resident(&self) -> anyhow::Result<i64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        let pages: i64 = statm.split(' ').nth(1).context("resident pages")?.parse()?;
        Ok(pages * 4096)
    }
}

/// A client of the API.
struct Probe {
    client: reqwest::Client,
    api: String,
    event: String,
    token: String,
}

impl Probe {
    /// Sends requests until `end`. Returns the sorted latencies in milliseconds of each kind of request.
    async fn sample(self: &Arc<Self>, end: impl Future<Output = ()>) -> anyhow::Result<Vec<Vec<f64>>> {
        let over = Arc::new(AtomicBool::new(false));
        let askers: Vec<_> = (0..3)
            .map(|kind| {
                let (probe, over) = (Arc::clone(self), Arc::clone(&over));
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let started = Instant::now();
                        probe.ask(kind).await?;
                        latencies.push(started.elapsed().as_secs_f64() * 1e3);
                        tokio::time::sleep(PAUSE).await;
                    }
                    latencies.sort_by(f64::total_cmp);
                    anyhow::Ok(latencies)
                })
            })
            .collect();
        end.await;
        over.store(true, Ordering::Relaxed);
        let mut latencies = Vec::new();
        for asker in askers {
            latencies.push(asker.await??);
        }
        Ok(latencies)
    }

    async fn ask(&self, kind: usize) -> anyhow::Result<()> {
        let request = match kind {
            0 => self.client.get(format!("{}/livez", self.api)),
            1 => self.client.get(format!("{}/events/active", self.api)),
            _ => {
                let claim = self.client.post(format!("{}/reward-requests", self.api));
                claim.json(&json!({"eventId": self.event}))
            }
        };
        let reply = request.bearer_auth(&self.token).send().await?;
        let status = reply.status();
        let body = reply.bytes().await?;
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        Ok(())
    }
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted
        .get(sorted.len() * percent / 100)
        .or(sorted.last())
        .copied()
        .unwrap_or(f64::NAN)
}
