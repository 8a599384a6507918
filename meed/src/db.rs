//! `meed db backup`, `copy` and `verify`: back up a database to a file, or copy and compare databases table by table.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::ExposeSecret as _;

use meed_host::config::Config;
use meed_host::db::backup::backup;
use meed_host::db::copy::{self, Progress};

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Back up the configured SQLite database to a new file, while servers use it
    Backup {
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Copy everything into an empty, migrated database; stop the servers on both first
    Copy(Databases),
    /// Compare two databases row by row; stop the servers on both first
    Verify(Databases),
}

#[derive(Debug, Args)]
pub(super) struct Databases {
    /// sqlite:PATH or postgres://… [default: database.url]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// sqlite:PATH or postgres://… [default: database.url]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
}

pub(super) async fn run(command: &DbCommand, config: &Config) -> anyhow::Result<()> {
    let databases = match command {
        DbCommand::Backup { to } => {
            let bytes = backup(config.database.url.expose_secret(), to).await?;
            println!("Backed up all committed data to {}: {bytes} bytes.", to.display());
            return Ok(());
        }
        DbCommand::Copy(databases) | DbCommand::Verify(databases) => databases,
    };
    let Databases { from, to } = databases;
    anyhow::ensure!(
        from.is_some() || to.is_some(),
        "pass --from, --to or both; a missing one defaults to database.url of the settings"
    );
    let settings = config.database.url.expose_secret();
    let (from, to) = (from.as_deref().unwrap_or(settings), to.as_deref().unwrap_or(settings));
    // The progress bar is shown only on a terminal.
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {elapsed}")?);
    let report = |progress: Progress<'_>| show(&bar, &progress);
    let done = match command {
        DbCommand::Copy(_) => copy::copy(from, to, report).await,
        _ => copy::verify(from, to, report).await,
    };
    bar.finish_and_clear();
    done?;
    println!(
        "{}",
        match command {
            DbCommand::Copy(_) => "Copied everything; both databases are identical.",
            _ => "Both databases are identical.",
        }
    );
    Ok(())
}

fn show(bar: &ProgressBar, progress: &Progress<'_>) {
    match progress {
        Progress::Begun { table, rows, comparing } => {
            bar.set_length(*rows);
            bar.set_position(0);
            bar.set_message(format!("{} {table}", if *comparing { "comparing" } else { "copying" }));
        }
        Progress::Rows(rows) => bar.set_position(*rows),
        Progress::Copied { table, rows } => bar.suspend(|| println!("copied  {table}: {rows}")),
        Progress::Same { table, rows, digest } => bar.suspend(|| println!("same    {table}: {rows}, sha256:{digest}")),
    }
}
