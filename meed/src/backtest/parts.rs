//! `meed backtest worker` and `meed backtest merge`: a backtest in parts, for schedulers such as Spark. None needs a database
//! or a server.

use std::fs::File;
use std::io::{BufRead as _, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

use meed_host::backtests::Terms;
use meed_host::backtests::exchange::{self, Counted, ExchangeError, Job, Merged};
use meed_host::backtests::local::Local;
use meed_host::backtests::report::{Run, SignedReport};
use meed_host::canonical;
use meed_host::clock::Clock;
use meed_host::config::Config;
use meed_host::plugins::PluginService;
use meed_host::sandbox::{Digest, Plugin, Sandbox, Settings};

/// The exit code of a merge that needs another round.
const NEXT_ROUND: u8 = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum PartCommand {
    /// Decide about the users whose rows arrive on standard input, and print the counts as one line of JSON
    Worker {
        /// The job of this round, from `meed backtest --export` or `meed backtest merge`
        #[arg(long, value_name = "FILE")]
        job: PathBuf,
        /// The folder with the modules; the default is that of the job
        #[arg(long, value_name = "DIR")]
        plugins: Option<PathBuf>,
    },
    /// Merge the lines of all workers from standard input. Exit code 0: the report is written, 3: the job of the next round
    Merge {
        /// The job that the workers had
        #[arg(long, value_name = "FILE")]
        job: PathBuf,
        /// The folder with the modules; the default is that of the job
        #[arg(long, value_name = "DIR")]
        plugins: Option<PathBuf>,
        /// Where to write the job of the next round
        #[arg(long, value_name = "FILE")]
        next: PathBuf,
        /// Where to write the report
        #[arg(long, value_name = "FILE")]
        json: PathBuf,
    },
}

pub(super) async fn run(part: &PartCommand, config: &Config) -> anyhow::Result<ExitCode> {
    let sandbox = Sandbox::new(&Settings::from(&config.sandbox), std::env::current_exe()?, None)?;
    match part {
        PartCommand::Worker { job, plugins } => {
            let (job, modules) = read(job, plugins.as_deref())?;
            let plugins = load(&sandbox, &job, &modules).await?;
            let counted = exchange::replay(&job, &sandbox, plugins, std::io::stdin().lock()).await?;
            println!("{}", serde_json::to_string(&counted)?);
            Ok(ExitCode::SUCCESS)
        }
        PartCommand::Merge {
            job,
            plugins,
            next,
            json,
        } => {
            let (job, modules) = read(job, plugins.as_deref())?;
            let plugins = load(&sandbox, &job, &modules).await?;
            let lines = std::io::stdin().lock().lines();
            let parts = lines.map(|line| Ok::<Counted, ExchangeError>(serde_json::from_str(&line?)?));
            match exchange::merge(job, &sandbox, plugins, parts).await? {
                Merged::Next(job) => {
                    write(next, &serde_json::to_string(&job)?)?;
                    Ok(ExitCode::from(NEXT_ROUND))
                }
                Merged::Report(report) => {
                    let clock = Clock::System;
                    let now = clock.now();
                    let run = Run {
                        backtest_id: clock.new_id(),
                        created_by: None,
                        created_at: now,
                        finished_at: now,
                    };
                    let signed = SignedReport::new(*report, run, None)?;
                    write(json, &canonical::to_string(&signed)?)?;
                    eprintln!("report     {}", signed.digest);
                    Ok(ExitCode::SUCCESS)
                }
            }
        }
    }
}

/// Writes `job.json`, `rows.ndjson` and the modules. `given`: the module of the candidate, if the database has not got it.
pub(super) async fn export(
    local: &Local,
    terms: &Terms,
    (plugins, given): (&PluginService, Option<&[u8]>),
    directory: &Path,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let path = directory.join("rows.ndjson");
    let file = File::create(&path).with_context(|| format!("write {}", path.display()))?;
    let mut rows = BufWriter::new(file);
    let job = exchange::export(local, terms, |row| {
        serde_json::to_writer(&mut rows, row)?;
        rows.write_all(b"\n")
    })
    .await?;
    rows.flush()?;
    for digest in digests(&job) {
        let module = match given.filter(|given| Digest::of(given) == digest) {
            Some(given) => given.to_vec(),
            None => plugins.module(digest).await?,
        };
        let path = directory.join(file_of(digest));
        std::fs::write(&path, module).with_context(|| format!("write {}", path.display()))?;
    }
    write(&directory.join("job.json"), &serde_json::to_string(&job)?)
}

/// The job, and the folder with its modules.
fn read(job: &Path, plugins: Option<&Path>) -> anyhow::Result<(Job, PathBuf)> {
    let text = std::fs::read_to_string(job).with_context(|| format!("read {}", job.display()))?;
    let folder = plugins.or_else(|| job.parent()).unwrap_or(Path::new("."));
    let job = Job::parse(&text).with_context(|| format!("{} is not a job", job.display()))?;
    Ok((job, folder.to_owned()))
}

async fn load(sandbox: &Sandbox, job: &Job, folder: &Path) -> anyhow::Result<[Plugin; 2]> {
    let [baseline, candidate] = digests(job);
    let first = load_one(sandbox, baseline, folder).await?;
    let second = load_one(sandbox, candidate, folder).await?;
    Ok([first, second])
}

async fn load_one(sandbox: &Sandbox, digest: Digest, folder: &Path) -> anyhow::Result<Plugin> {
    let path = folder.join(file_of(digest));
    let module = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(sandbox.load(digest, module).await?)
}

fn digests(job: &Job) -> [Digest; 2] {
    [job.terms.baseline.digest, job.terms.candidate.digest]
}

/// `sha256-….wasm`
fn file_of(digest: Digest) -> String {
    format!("{}.wasm", digest.to_string().replace(':', "-"))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
