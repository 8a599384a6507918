//! `meed plugin test`: runs the project's test cases against the built module, like the server.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::workbench::{Bench, history, read_cases};
use meed_host::plugins::cases::{self, Case, CaseRun};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    bench: Bench,
    /// A folder of test cases (*.json) or one case, instead of the project's tests/
    #[arg(long, value_name = "PATH")]
    cases: Option<PathBuf>,
    /// Write the actual result into each failing case instead of reporting it; review the changes afterwards
    #[arg(long)]
    update: bool,
}

/// Returns exit code 1 if a case fails.
pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let workbench = arguments.bench.open().await?;
    let path = arguments.cases.clone().unwrap_or_else(|| arguments.bench.tests());
    let cases = read_cases(&path)?;
    let history = history().await?;
    let manifest = &workbench.admitted.manifest;
    println!("{} {}, {} cases", manifest.name, manifest.version, cases.len());

    let (mut failed, mut updated, mut most_fuel) = (0, 0, 0);
    for (path, case) in cases {
        let plugin = &workbench.admitted.plugin;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ran = cases::run(
            &workbench.sandbox,
            plugin,
            &manifest.params_schema,
            &case,
            Some(&history),
        )
        .await
        .with_context(|| format!("{} cannot be run", path.display()))?;
        most_fuel = most_fuel.max(ran.fuel);
        let faults = case.mismatches(&ran);
        if faults.is_empty() {
            println!("  ok      {name}  {}", cost(&ran));
        } else if arguments.update {
            std::fs::write(&path, blessed(case, ran)?).with_context(|| format!("write {}", path.display()))?;
            updated += 1;
            println!("  updated {name}");
        } else {
            failed += 1;
            println!("  FAILED  {name}  {}", case.description);
            for line in faults {
                println!("          {line}");
            }
            for note in &ran.notes {
                println!("          noted: {note}");
            }
        }
    }
    println!("{failed} failed, {updated} updated; at most {most_fuel} fuel");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn cost(ran: &CaseRun) -> String {
    match ran.fuel {
        0 => "not evaluated".to_owned(),
        fuel => format!("{fuel} fuel"),
    }
}

/// The case with the actual result. A fuel limit that is too low is raised to the measured fuel plus 5 %.
fn blessed(case: Case, ran: CaseRun) -> anyhow::Result<String> {
    let fuel_ceiling = case.fuel_ceiling.map(|ceiling| {
        if ran.fuel > ceiling {
            ran.fuel + ran.fuel / 20
        } else {
            ceiling
        }
    });
    let case = Case {
        expect: Some(ran.actual),
        fuel_ceiling,
        ..case
    };
    Ok(serde_json::to_string_pretty(&case)? + "\n")
}
