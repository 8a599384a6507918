//! Running a decision again from its receipt and the plugin's bytes: no server, no database, no clock.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::decide;
use super::receipt::{EvaluationRecord, Outcome, ReceiptError, SignedReceipt};
use crate::contract::Query;
use crate::keys::PublicKey;
use crate::sandbox::{Digest, LoadError, Sandbox};

/// What the re-run showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// The same plugin with the same facts gives the same decision, for the same fuel, and the host did with it what
    /// the receipt says.
    Match { fuel: u64 },
    /// The host answered before the condition was asked, so there is nothing to run; the signature was verified.
    NothingToRun,
    /// What differs, line by line.
    Differs(Vec<String>),
    /// Running it here would prove nothing.
    NotReplayable(String),
}

/// Why there is no verdict on the receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    #[error("the receipt needs the plugin {needs}; pass its module with --plugin")]
    PluginMissing { needs: Digest },
    #[error("the receipt was decided by {needs}, but the module you passed is {passed}")]
    OtherPlugin { needs: Digest, passed: Digest },
    #[error("the module cannot be loaded: {0}")]
    Load(#[from] LoadError),
    #[error("the receipt's params cannot be written as canonical JSON: {0}")]
    Params(#[from] serde_json::Error),
    #[error("the receipt's state is not base64")]
    State,
}

/// Verifies a receipt's signature and runs its decision again. `sandbox` must have the receipt's limits.
///
/// `trusted`: the server's receipt keys, got from its operator; without them the receipt's own key is used, which
/// proves that the receipt is whole but not who wrote it.
pub async fn replay(
    sandbox: &Sandbox,
    signed: &SignedReceipt,
    module: Option<Vec<u8>>,
    trusted: Option<&[PublicKey]>,
) -> Result<Replay, ReplayError> {
    signed.verify(trusted)?;
    let Some(record) = &signed.receipt.evaluation else {
        return Ok(Replay::NothingToRun);
    };
    let needs = record.plugin.digest;
    let module = module.ok_or(ReplayError::PluginMissing { needs })?;
    let passed = Digest::of(&module);
    if passed != needs {
        return Err(ReplayError::OtherPlugin { needs, passed });
    }
    if record.engine != sandbox.fingerprint() {
        return Ok(Replay::NotReplayable(format!(
            "it was decided on the engine {}, this is {}; use the release of meed that has that engine",
            record.engine,
            sandbox.fingerprint()
        )));
    }
    let limits = super::receipt::Limits::from(&sandbox.settings().call);
    if record.limits != limits {
        return Ok(Replay::NotReplayable(format!(
            "it was decided within {:?}, this sandbox has {limits:?}",
            record.limits
        )));
    }
    if let Outcome::Failure(failure) = &record.outcome
        && !failure.deterministic
    {
        return Ok(Replay::NotReplayable(format!(
            "it failed with {:?}, which depends on the machine and its load",
            failure.code
        )));
    }
    let plugin = sandbox.load(needs, module).await?;
    let mut differences = Vec::new();
    check_binding(sandbox, &plugin, record, &mut differences).await?;
    let state = STANDARD.decode(&record.state).map_err(|_| ReplayError::State)?;
    let call = sandbox.evaluate(&plugin, &record.context, &state, &record.facts).await;
    if call.fuel != record.fuel {
        differences.push(format!(
            "fuel: the receipt says {}, the re-run used {}",
            record.fuel, call.fuel
        ));
    }
    match (&record.outcome, &call.outcome) {
        (Outcome::Decision(recorded), Ok(decision)) if recorded == decision => {
            check_verdict(signed, record, &mut differences);
        }
        (Outcome::Failure(recorded), Err(failure)) if recorded.code == failure.code() => {}
        (recorded, outcome) => {
            let outcome = match outcome {
                Ok(decision) => serde_json::to_string(decision)?,
                Err(failure) => format!("failure {}: {failure}", failure.code()),
            };
            differences.push(format!(
                "outcome: the receipt says {}, the re-run gave {outcome}",
                serde_json::to_string(recorded)?
            ));
        }
    }
    Ok(if differences.is_empty() {
        Replay::Match { fuel: call.fuel }
    } else {
        Replay::Differs(differences)
    })
}

/// The plan and the state must be what `bind` makes of the params.
async fn check_binding(
    sandbox: &Sandbox,
    plugin: &crate::sandbox::Plugin,
    record: &EvaluationRecord,
    differences: &mut Vec<String>,
) -> Result<(), ReplayError> {
    let params = serde_json_canonicalizer::to_string(&record.params)?;
    match sandbox.bind(plugin, &params).await.outcome {
        Ok(Ok(binding)) => {
            if binding.queries != record.queries {
                differences.push(format!(
                    "queries: the receipt says {}, bind gives {}",
                    json(&record.queries),
                    json(&binding.queries)
                ));
            }
            if STANDARD.encode(&binding.state) != record.state {
                differences.push("state: bind gives other bytes for the receipt's params".to_owned());
            }
        }
        Ok(Err(issues)) => differences.push(format!("params: bind refuses them: {issues:?}")),
        Err(failure) => differences.push(format!("params: bind failed: {failure}")),
    }
    Ok(())
}

/// The host must have done with the decision what its rules say.
fn check_verdict(signed: &SignedReceipt, record: &EvaluationRecord, differences: &mut Vec<String>) {
    let Outcome::Decision(decision) = &record.outcome else {
        return;
    };
    let receipt = &signed.receipt;
    let verdict = decide::judge(decision, &record.context.rewards);
    let mut compare = |what: &str, recorded: String, judged: String| {
        if recorded != judged {
            differences.push(format!(
                "{what}: the receipt says {recorded}, the decision means {judged}"
            ));
        }
    };
    compare("status", receipt.status.to_string(), verdict.status.to_string());
    compare(
        "awards",
        format!("{:?}", receipt.awards),
        format!("{:?}", verdict.awards),
    );
    compare(
        "reasons",
        format!("{:?}", receipt.reasons),
        format!("{:?}", verdict.reasons),
    );
    compare(
        "progress",
        format!("{:?}", receipt.progress),
        format!("{:?}", verdict.progress),
    );
    compare(
        "receivedAt",
        receipt.received_at.to_string(),
        record.context.now.to_string(),
    );
    compare("eventId", receipt.event_id.to_string(), record.context.event.id.clone());
    compare("userId", receipt.user_id.to_string(), record.context.user.id.clone());
}

fn json(queries: &[Query]) -> String {
    serde_json::to_string(queries).unwrap_or_default()
}
