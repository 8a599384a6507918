//! `meed plugin case`: turns a receipt into a test case, because a receipt contains the whole input of a decision.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Server;
use meed_host::claims::{EvaluationRecord, Outcome, Proof, SignedReceipt};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The id of a reward request on the server
    #[arg(long, value_name = "ID", required_unless_present = "receipt")]
    request: Option<Uuid>,
    /// A receipt file (the response of GET /reward-requests/{id}/receipt), instead of a request on a server
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    receipt: Option<PathBuf>,
    /// The output file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let proof = match (&arguments.receipt, arguments.request) {
        (Some(path), _) => read(path)?,
        (None, Some(id)) => {
            let id = id.to_string();
            let path = ["reward-requests", &id, "receipt"];
            let signed: SignedReceipt = arguments.server.client()?.get(&path).await?;
            Proof::from(signed)
        }
        (None, None) => bail!("give a reward request with --request, or a file with --receipt"),
    };
    let receipt = proof.content().context("the content of this receipt was erased")?;
    let record = receipt
        .evaluation
        .as_ref()
        .context("the host decided this request without running the plugin, so there is no decision to test")?;
    let plugin = &record.plugin;
    let description = format!(
        "What {} {} decided on request {} at {}",
        plugin.name, plugin.version, receipt.request_id, receipt.received_at
    );
    let text = serde_json::to_string_pretty(&case_of(record, &description)?)? + "\n";
    match &arguments.output {
        Some(path) => std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?,
        None => print!("{text}"),
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Proof> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Proof::parse(&bytes).with_context(|| format!("{} is not a signed receipt", path.display()))
}

fn case_of(record: &EvaluationRecord, description: &str) -> anyhow::Result<Value> {
    let context = &record.context;
    let mut case = json!({
        "description": description,
        "params": record.params,
        "context": {
            "now": context.now,
            "timeZone": context.time_zone,
            "event": context.event,
            "user": context.user,
            "rewards": context.rewards,
            "seed": hex::encode(context.seed),
        },
        "facts": record.facts,
    });
    match &record.outcome {
        Outcome::Decision(decision) => {
            case["expect"] = json!({"decision": decision});
            case["fuelCeiling"] = json!(ceiling(record.fuel));
        }
        Outcome::Failure(failure) => {
            ensure!(
                failure.deterministic,
                "this run failed with {:?}, which depends on the machine, so it cannot be a test case",
                failure.code
            );
            case["expect"] = json!({"failure": failure.code});
        }
    }
    Ok(case)
}

/// A little more than the measured fuel, so that a build by another compiler version can pass.
fn ceiling(fuel: u64) -> u64 {
    (fuel + fuel / 20).next_multiple_of(100)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_ceiling_is_slightly_above_the_measured_fuel() {
        assert_eq!([0, 1, 4510, 100_000].map(super::ceiling), [0, 100, 4800, 105_000]);
    }
}
