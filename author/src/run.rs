//! `meed plugin run`: runs one decision and prints its input and result as JSON.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::workbench::{Bench, history};
use meed_host::plugins::cases::{self, Case};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    bench: Bench,
    /// A test case with the input [default: standard input]
    #[arg(long, value_name = "FILE")]
    case: Option<PathBuf>,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let case: Case = if let Some(path) = &arguments.case {
        super::workbench::read_case(path)?
    } else {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("read standard input")?;
        super::workbench::parse_case(&text).context("standard input is not a case")?
    };
    let workbench = arguments.bench.open().await?;
    let (admitted, history) = (&workbench.admitted, history().await?);
    let schema = &admitted.manifest.params_schema;
    let ran = cases::run(&workbench.sandbox, &admitted.plugin, schema, &case, Some(&history)).await?;
    let answer = json!({
        "queries": ran.queries,
        "facts": ran.facts,
        "outcome": ran.actual,
        "fuel": ran.fuel,
        "setupFuel": ran.setup_fuel,
        "memoryBytes": ran.memory,
        "elapsedMicroseconds": u64::try_from(ran.elapsed.as_micros()).unwrap_or(u64::MAX),
        "notes": ran.notes,
    });
    println!("{}", serde_json::to_string_pretty(&answer)?);
    Ok(ExitCode::SUCCESS)
}
