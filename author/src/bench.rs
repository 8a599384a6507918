//! `meed plugin bench`: measures the cost of a decision for each test case.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use clap::Args;
use serde::Serialize;

use super::workbench::{Bench, history, read_cases};
use meed_host::plugins::cases::{self, PreparedCase};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    bench: Bench,
    /// A folder of test cases (*.json) or one case, instead of the project's tests/
    #[arg(long, value_name = "PATH")]
    cases: Option<PathBuf>,
    /// The number of evaluations per case
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Durations include the whole evaluation: creating an instance, the call, and the validation of the result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    case: String,
    fuel: u64,
    memory_bytes: usize,
    min_microseconds: f64,
    median_microseconds: f64,
    p90_microseconds: f64,
    p99_microseconds: f64,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let workbench = arguments.bench.open().await?;
    let cases = read_cases(&arguments.cases.clone().unwrap_or_else(|| arguments.bench.tests()))?;
    let history = history().await?;
    let (admitted, sandbox) = (&workbench.admitted, &workbench.sandbox);
    let mut costs = Vec::new();
    for (path, case) in cases {
        let schema = &admitted.manifest.params_schema;
        let Ok(ready) = cases::prepare(sandbox, &admitted.plugin, schema, &case, Some(&history)).await? else {
            // The case expects invalid params, so there is nothing to evaluate.
            continue;
        };
        let PreparedCase {
            context, state, facts, ..
        } = &ready;
        let mut times = Vec::new();
        let (mut fuel, mut memory_bytes) = (0, 0);
        for _ in 0..arguments.calls {
            let call = black_box(sandbox.evaluate(&admitted.plugin, context, state, facts).await);
            call.outcome
                .map_err(|failure| anyhow!("{} failed ({}): {failure}", path.display(), failure.code()))?;
            times.push(call.elapsed);
            (fuel, memory_bytes) = (call.fuel, call.memory);
        }
        times.sort_unstable();
        let at = |percent: usize| microseconds(times[(times.len() - 1) * percent / 100]);
        costs.push(Cost {
            case: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            fuel,
            memory_bytes,
            min_microseconds: at(0),
            median_microseconds: at(50),
            p90_microseconds: at(90),
            p99_microseconds: at(99),
        });
    }
    ensure!(
        !costs.is_empty(),
        "no test case leads to a decision, so there is nothing to measure"
    );
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&costs)?);
        return Ok(ExitCode::SUCCESS);
    }
    let width = costs.iter().map(|cost| cost.case.len()).max().unwrap_or_default();
    println!(
        "{:width$}  {:>12} {:>9} {:>10} {:>10} {:>10} {:>10}",
        "microseconds", "fuel", "KiB", "min", "median", "p90", "p99"
    );
    for cost in costs {
        println!(
            "{:width$}  {:>12} {:>9} {:>10.1} {:>10.1} {:>10.1} {:>10.1}",
            cost.case,
            cost.fuel,
            cost.memory_bytes >> 10,
            cost.min_microseconds,
            cost.median_microseconds,
            cost.p90_microseconds,
            cost.p99_microseconds
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
