//! Replay: a decision runs again from its receipt and the plugin's bytes, without server, database or clock.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::model::{Reason, Source, Status};
use super::receipt::format1::Receipt;
use super::receipt::{EvaluationRecord, Limits, Outcome, Proof, ReceiptError, SignedReceipt};
use super::review::ReviewOutcome;
use super::verdict::Verdict;
use crate::canonical;
use crate::contract::{Arguments, Query};
use crate::events::{Purpose, Secret};
use crate::facts::Zone;
use crate::keys::PublicKey;
use crate::sandbox::{Digest, LoadError, Sandbox};

/// The result of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// The same plugin with the same facts gives the same decision, for the same fuel, and the host's rules lead to the
    /// outcome in the receipt.
    Match { fuel: u64 },
    /// The host decided without the condition, so there is nothing to run; the signature was verified.
    NothingToRun,
    /// The content was erased; the digest and its signature were verified.
    Erased,
    /// The differences.
    Differs(Vec<String>),
    /// A replay on this machine would prove nothing, for the given reason.
    NotReplayable(String),
}

/// Why a receipt could not be checked.
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
/// `trusted`: the receipt keys of the server's operator. Without them the receipt's own key is used, which proves that the
/// receipt is intact but not who signed it.
pub async fn replay(
    sandbox: &Sandbox,
    proof: &Proof,
    module: Option<Vec<u8>>,
    trusted: Option<&[PublicKey]>,
) -> Result<Replay, ReplayError> {
    proof.verify(trusted)?;
    let Some(receipt) = proof.content() else {
        return Ok(Replay::Erased);
    };
    let mut differences = contradictions(&receipt);
    if let Proof::Format2(signed) = proof {
        differences.extend(departures(signed));
    }
    let Some(record) = &receipt.evaluation else {
        return Ok(if differences.is_empty() {
            Replay::NothingToRun
        } else {
            Replay::Differs(differences)
        });
    };
    let needs = record.plugin.digest;
    let module = module.ok_or(ReplayError::PluginMissing { needs })?;
    let passed = Digest::of(&module);
    if passed != needs {
        return Err(ReplayError::OtherPlugin { needs, passed });
    }
    let not_replayable = |reason, differences: Vec<String>| {
        if differences.is_empty() {
            Replay::NotReplayable(reason)
        } else {
            Replay::Differs(differences)
        }
    };
    if let Some(reason) = obstacle(sandbox, record) {
        return Ok(not_replayable(reason, differences));
    }
    let plugin = sandbox.load(needs, module).await?;
    let limits = Limits::from(sandbox.limits(&plugin));
    if record.limits != limits {
        let reason = format!("it was decided within {:?}, this sandbox has {limits:?}", record.limits);
        return Ok(not_replayable(reason, differences));
    }
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
        (Outcome::Decision(recorded), Ok(decision)) if recorded == decision => {}
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

/// The reason why a replay on this machine would prove nothing, if there is one.
fn obstacle(sandbox: &Sandbox, record: &EvaluationRecord) -> Option<String> {
    let engine = sandbox.fingerprint();
    if record.engine != engine {
        let decided = &record.engine;
        return Some(format!(
            "it was decided on the engine {decided}, and this is {engine}; use a release of meed with that engine"
        ));
    }
    match &record.outcome {
        Outcome::Failure(failure) if !failure.deterministic => Some(format!(
            "it failed with {:?}, which depends on the machine and its load",
            failure.code
        )),
        _ => None,
    }
}

/// The plan and the state must be those that `bind` returns for the params.
async fn check_binding(
    sandbox: &Sandbox,
    plugin: &crate::sandbox::Plugin,
    record: &EvaluationRecord,
    differences: &mut Vec<String>,
) -> Result<(), ReplayError> {
    let params = canonical::to_string(&record.params)?;
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

/// Contradictions to the host's own rules, for any decision of the condition.
fn contradictions(receipt: &Receipt) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, recorded: String, expected: String| {
        if recorded != expected {
            found.push(format!(
                "{what}: the receipt says {recorded}, the rules make it {expected}"
            ));
        }
    };
    let verdict = match &receipt.evaluation {
        None => {
            // A gate, or a condition that could not run.
            let by_host = receipt.reasons.iter().all(|reason| reason.source == Source::Host);
            compare("reasons of the host alone", by_host.to_string(), "true".to_owned());
            compare("progress", format!("{:?}", receipt.progress), "[]".to_owned());
            compare("awards", format!("{:?}", receipt.awards), "[]".to_owned());
            let refused = matches!(receipt.status, Status::Rejected | Status::Failed);
            compare("status REJECTED or FAILED", refused.to_string(), "true".to_owned());
            compare("no review", receipt.review.is_none().to_string(), "true".to_owned());
            return found;
        }
        Some(record) => {
            let context = &record.context;
            compare("receivedAt", receipt.received_at.to_string(), context.now.to_string());
            compare("eventId", receipt.event_id.to_string(), context.event.id.clone());
            compare("userId", receipt.user_id.to_string(), context.user.id.clone());
            match &record.outcome {
                Outcome::Decision(decision) => {
                    let (rewards, budget) = (&context.rewards, record.budget_amount);
                    match &receipt.review {
                        Some(review) => Verdict::of_review(decision, rewards, budget, review),
                        None => Verdict::of_decision(decision, rewards, budget),
                    }
                }
                Outcome::Failure(_) => Verdict::condition_failed(),
            }
        }
    };
    if let Some(review) = &receipt.review {
        let is_denial = review.outcome == ReviewOutcome::Denied;
        let is_own = review.request_id == receipt.request_id && review.reviewed_at == receipt.decided_at;
        let is_earlier = is_denial && review.reviewed_at <= receipt.decided_at;
        compare(
            "review of this claim",
            (is_own || is_earlier).to_string(),
            "true".to_owned(),
        );
        let is_by_person = review.reason.is_some() && review.reviewed_by.is_some();
        let is_expiry = review.outcome == ReviewOutcome::Expired;
        compare("review by a person", is_by_person.to_string(), (!is_expiry).to_string());
    }
    compare("status", receipt.status.to_string(), verdict.status.to_string());
    compare(
        "awards",
        format!("{:?}", receipt.awards),
        format!("{:?}", verdict.awards),
    );
    compare(
        "progress",
        format!("{:?}", receipt.progress),
        format!("{:?}", verdict.progress),
    );
    compare(
        "reasons",
        format!("{:?}", binding(&receipt.reasons)),
        format!("{:?}", binding(&verdict.reasons)),
    );
    found
}

/// Departures from the terms that a receipt of format 2 names: its period and slot, and what was given.
fn departures(signed: &SignedReceipt) -> Vec<String> {
    let (Some(receipt), Some(terms)) = (&signed.receipt, &signed.terms) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    match terms.time_zone.parse::<Zone>() {
        Ok(zone) => {
            let period = terms.recurrence.period.key(receipt.received_at, &zone);
            if receipt.period != period {
                let recorded = &receipt.period;
                found.push(format!(
                    "period: the receipt says {recorded}, receivedAt is in {period}"
                ));
            }
        }
        Err(error) => found.push(format!("timeZone: {error}")),
    }
    let (slot, count) = (receipt.slot, terms.recurrence.count);
    if !(1..=count).contains(&slot) {
        found.push(format!(
            "slot: the receipt says {slot}, the event has the slots 1 to {count}"
        ));
    }
    for given in &receipt.awards {
        let offered = terms.reward(given.reward_id);
        let is_offered = offered.is_some_and(|reward| {
            (reward.revision, &reward.item_id, &reward.duration) == (given.revision, &given.item_id, &given.duration)
        });
        if !is_offered {
            found.push(format!(
                "awards: the receipt gives {given:?}, the event offers {offered:?}"
            ));
        }
    }
    if let Some(run) = &receipt.evaluation
        && run.max_quantities.len() != terms.rewards.len()
    {
        found.push("maxQuantities: their number differs from that of the rewards".to_owned());
    }
    found
}

/// The binding part of each reason: a later release may change the messages of the host.
fn binding(reasons: &[Reason]) -> Vec<(Source, &str, &str, &Arguments)> {
    reasons
        .iter()
        .map(|reason| {
            let message = match reason.source {
                Source::Host => "",
                Source::Condition => reason.message.as_str(),
            };
            (reason.source, reason.code.as_str(), message, &reason.args)
        })
        .collect()
}

/// Checks that the receipt's seed was derived from this secret, and that the event committed to this secret.
///
/// `None` if there was no evaluation, so that no seed was used.
pub fn check_seed(proof: &Proof, secret: &Secret) -> Option<Result<(), String>> {
    let receipt = proof.content()?;
    let record = receipt.evaluation.as_ref()?;
    if secret.commitment() != receipt.seed_commitment {
        let (is, committed) = (secret.commitment(), &receipt.seed_commitment);
        return Some(Err(format!(
            "the secret's SHA-256 is {is}, the event committed to {committed}"
        )));
    }
    let (event_id, user_id) = (receipt.event_id, receipt.user_id);
    let seed = secret.seed(event_id, user_id, &receipt.period, receipt.slot, Purpose::Claim);
    if seed == record.context.seed {
        return Some(Ok(()));
    }
    let (found, made) = (hex::encode(record.context.seed), hex::encode(seed));
    Some(Err(format!("the receipt's seed is {found}, the secret gives {made}")))
}

fn json(queries: &[Query]) -> String {
    serde_json::to_string(queries).unwrap_or_default()
}
