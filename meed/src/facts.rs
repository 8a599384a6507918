//! `meed facts verify` and `meed facts rebuild`: what is maintained for users with many activities.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use uuid::Uuid;

use meed_host::clock::Clock;
use meed_host::config::Config;
use meed_host::facts::{FactBuilder, Which};

#[derive(Debug, Subcommand)]
pub(crate) enum FactsCommand {
    /// Compare what is maintained with the log of activities. The exit code is 1 if something differs
    Verify(Selected),
    /// Build what is maintained again from the log; servers may run meanwhile
    Rebuild(Selected),
}

/// All users and series, unless one is named.
#[derive(Debug, Args)]
pub(crate) struct Selected {
    /// Only what is maintained for this user
    #[arg(long, value_name = "ID")]
    user: Option<Uuid>,
    /// Only this series, as `verify` prints it
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    series: Option<i64>,
}

impl Selected {
    fn which(&self) -> Which {
        Which {
            user: self.user,
            series: self.series,
        }
    }
}

pub(crate) async fn run(command: &FactsCommand, config: &Config) -> anyhow::Result<ExitCode> {
    let db = super::connect(config).await?;
    db.schema().await.context("read the table of the migrations")?.check()?;
    let facts = FactBuilder::new(db.clone(), Clock::System);
    let code = match command {
        FactsCommand::Verify(selected) => {
            let checked = facts.verify(selected.which()).await?;
            for difference in &checked.differences {
                println!("{difference}");
            }
            println!(
                "Compared {} series of users with the log; {} differ.",
                checked.heads,
                checked.differences.len()
            );
            ExitCode::from(u8::from(!checked.differences.is_empty()))
        }
        FactsCommand::Rebuild(selected) => {
            let rebuilt = facts.rebuild(selected.which()).await?;
            facts.finish().await?;
            println!("Built {rebuilt} series of users again.");
            ExitCode::SUCCESS
        }
    };
    db.close().await;
    Ok(code)
}
