//! `meed backtest` and `meed verify report`: what a condition would have decided, from a copy of a database and without a
//! server.

mod parts;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;
use uuid::Uuid;

use meed_host::backtests::local::{Local, terms};
use meed_host::backtests::report::{Run, SignedReport, csv, html};
use meed_host::backtests::{Backtested, Population};
use meed_host::cache::Cache;
use meed_host::canonical;
use meed_host::clock::{Clock, Timestamp};
use meed_host::config::Config;
use meed_host::keys::{Keyring, PublicKey, Purpose};
use meed_host::plugins::PluginService;
use meed_host::sandbox::{Sandbox, Settings};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    part: Option<parts::PartCommand>,
    /// The id of the event in the database, for example a copy that `meed db copy` made
    #[arg(value_name = "EVENT", required = true)]
    event: Option<Uuid>,
    /// The module of the condition to test, instead of the event's own
    #[arg(long, value_name = "WASM")]
    plugin: Option<PathBuf>,
    /// The params of the condition to test as JSON; the default is those of the event
    #[arg(long, value_name = "JSON")]
    params: Option<String>,
    /// The start of the period, inclusive; the default is the event's start
    #[arg(long, value_name = "INSTANT")]
    from: Option<Timestamp>,
    /// The end of the period, exclusive; the default is the event's end, or now
    #[arg(long, value_name = "INSTANT")]
    to: Option<Timestamp>,
    /// Replay claims only, and ask nothing about users who never claimed
    #[arg(long)]
    claimants: bool,
    /// So many users instead of all, by a stable hash of their ids
    #[arg(long, value_name = "USERS")]
    sample: Option<u32>,
    /// Do not replay, but write the job, the modules and the rows to this folder, for `meed backtest worker`
    #[arg(long, value_name = "DIR", conflicts_with_all = ["json", "csv", "html"])]
    export: Option<PathBuf>,
    /// Write the report as JSON to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the numbers as CSV to this file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a page with charts to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VerifyCommand {
    /// Verify the digest and the signature of a report of a backtest, without a server
    Report {
        /// The response of GET /backtests/{id}/report
        #[arg(value_name = "REPORT")]
        report: PathBuf,
        /// The server's receipt keys, from /.well-known/receipt-keys.json, obtained over a trusted channel
        #[arg(long, value_name = "JWKS")]
        keys: Option<PathBuf>,
    },
}

pub(crate) async fn run(arguments: &Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    if let Some(part) = &arguments.part {
        return parts::run(part, config).await;
    }
    let event_id = arguments.event.context("name the event")?;
    let db = super::connect(config).await?;
    db.schema().await.context("read the table of the migrations")?.check()?;
    let clock = Clock::System;
    let sandbox = Sandbox::new(&Settings::from(&config.sandbox), std::env::current_exe()?, None)?;
    let cache = Cache::in_process(&clock.random());
    let plugins = PluginService::new(&config.plugins, db.clone(), clock.clone(), sandbox.clone(), cache);
    let params = arguments.params.as_deref().map(serde_json::from_str::<Value>);
    let params = params.transpose().context("--params is not JSON")?;
    let module = arguments
        .plugin
        .as_ref()
        .map(|path| std::fs::read(path).with_context(|| format!("read {}", path.display())));
    let module = module.transpose()?;
    let asked = Backtested {
        event_id,
        module: module.clone(),
        params,
        from: arguments.from,
        to: arguments.to,
        population: if arguments.claimants {
            Population::Claimants
        } else {
            Population::All
        },
        sample: arguments.sample,
    };
    let created_at = clock.now();
    let (terms, bound) = terms(&db, &plugins, asked, created_at).await?;
    let local = Local {
        db: db.clone(),
        sandbox,
        plugins: bound,
        secret: None,
    };
    if let Some(directory) = &arguments.export {
        parts::export(&local, &terms, (&plugins, module.as_deref()), directory).await?;
        db.close().await;
        return Ok(ExitCode::SUCCESS);
    }
    let mut told = (0, 0);
    let report = local.run(&terms, |round, users| {
        if (round, users / 10_000) != told {
            told = (round, users / 10_000);
            eprintln!("round {round}: {users} users");
        }
    });
    let report = report.await?;
    let keys = Keyring::load(&config.keys.directory, Purpose::Receipt).ok();
    let run = Run {
        backtest_id: clock.new_id(),
        created_by: None,
        created_at,
        finished_at: clock.now(),
    };
    let signed = SignedReport::new(report, run, keys.as_ref())?;
    let json = canonical::to_string(&signed)?;
    let write =
        |path: &PathBuf, text: &str| std::fs::write(path, text).with_context(|| format!("write {}", path.display()));
    if let Some(path) = &arguments.csv {
        write(path, &csv(&signed))?;
    }
    if let Some(path) = &arguments.html {
        write(path, &html(&signed))?;
    }
    match &arguments.json {
        Some(path) => write(path, &json)?,
        None => println!("{json}"),
    }
    eprintln!("report     {}", signed.digest);
    if signed.signature.is_none() {
        eprintln!(
            "not signed: there is no receipt key in {}",
            config.keys.directory.display()
        );
    }
    db.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Exit code 0: the report is what its server made. 1: it was changed, or no accepted key signed it.
pub(crate) fn verify(VerifyCommand::Report { report, keys }: &VerifyCommand) -> anyhow::Result<ExitCode> {
    let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    let trusted = match keys {
        Some(path) => {
            Some(PublicKey::of_jwks(&read(path)?).with_context(|| format!("{} is not a JWK Set", path.display()))?)
        }
        None => None,
    };
    match SignedReport::verify(&read(report)?, trusted.as_deref()) {
        Ok(signed) => {
            let header = &signed.report.header;
            let key = signed.signature.as_ref().map_or("", |signature| &signature.key_id);
            println!("report     {}", signed.digest);
            println!("signature  good, key {key}");
            if trusted.is_none() {
                println!("           the key is the report's own; pass --keys to know whose it is");
            }
            println!("event      {} revision {}", header.event.id, header.event.revision);
            println!(
                "baseline   {} {} {}",
                header.baseline.plugin, header.baseline.version, header.baseline.digest
            );
            println!(
                "candidate  {} {} {}",
                header.candidate.plugin, header.candidate.version, header.candidate.digest
            );
            println!("period     {} to {}", header.from, header.to);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            println!("BAD        {}: {error}", report.display());
            Ok(ExitCode::FAILURE)
        }
    }
}
