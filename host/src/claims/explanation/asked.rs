//! What an explanation is about: the decision in a receipt, or one that is made now and not stored. Must not know: words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::model::{Basis, Explanation};
use super::source::{Ran, Source};
use super::{Explanations, Reader};
use crate::claims::decision::{Decided, Judged};
use crate::claims::error::ClaimError;
use crate::claims::model::Status;
use crate::claims::receipt::{EvaluationRecord, Outcome as Recorded, Proof, SignedReceipt};
use crate::claims::verdict::Verdict;
use crate::clock::Timestamp;
use crate::events::{Offer, Purpose};
use crate::facts::{Instants, Plan};
use crate::plugins::{BoundCondition, PluginError};

impl Explanations {
    /// The decision in a receipt.
    pub(in crate::claims) async fn of_receipt(
        &self,
        signed: SignedReceipt,
        reader: Reader,
    ) -> Result<Explanation, ClaimError> {
        let run = signed.receipt.as_ref().and_then(|receipt| receipt.evaluation.as_ref());
        let known_by = run.map(|run| run.known_by);
        let terms = signed.terms.as_ref().ok_or(ClaimError::ReceiptErased)?;
        let condition = BoundCondition {
            plugin: terms.plugin.name.clone(),
            version: terms.plugin.version.clone(),
            digest: terms.plugin.digest,
            params: terms.params.clone(),
            plan: Plan::try_from(terms.queries.clone()).map_err(PluginError::from)?,
            state: STANDARD
                .decode(&terms.state)
                .map_err(|error| ClaimError::StoredReceipt(error.to_string()))?,
        };
        let (time_zone, digest) = (terms.time_zone.clone(), signed.digest);
        let retry_at = signed.receipt.as_ref().and_then(retry_at);
        let proof = Proof::from(signed);
        let receipt = proof.content().ok_or(ClaimError::ReceiptErased)?.into_owned();
        let source = Source {
            request_id: Some(receipt.request_id),
            event_id: receipt.event_id,
            event_revision: receipt.event_revision,
            user_id: receipt.user_id,
            basis: Basis::Receipt,
            as_of: receipt.received_at,
            known_by,
            verdict: receipt.status,
            reasons: receipt.reasons,
            progress: receipt.progress,
            retry_at,
            period: receipt.period,
            receipt_digest: Some(digest),
            time_zone,
            ran: receipt.evaluation.map(|record| ran(record, condition.clone())),
            condition,
        };
        self.explain(source, reader).await
    }

    /// The decision on a claim that is not made, as for the progress.
    pub(in crate::claims) async fn of_event(
        &self,
        user_id: Uuid,
        event_id: Uuid,
        as_of: Option<Timestamp>,
        known_by: Option<Timestamp>,
        reader: Reader,
    ) -> Result<Explanation, ClaimError> {
        let instants = Instants::asked(as_of, known_by, self.clock.now())?;
        let now = instants.as_of;
        let offer = self.events.recent(event_id).await?;
        let input = self.judge.read(user_id, &offer, instants).await?;
        if input.is_disabled() {
            return Err(ClaimError::Disabled);
        }
        let (verdict, period) = if input.granted() >= offer.event.recurrence.count {
            (
                Verdict::already_granted(offer.next_period_start(now)),
                offer.period(now),
            )
        } else if let Some(id) = input.held_claim() {
            (Verdict::claim_held(id), offer.period(now))
        } else {
            match self.judge.judge(&input, &offer, Purpose::Preview).await? {
                Judged::Decided(Decided { slot, verdict, .. }) => (verdict, slot.period),
                _ => return Err(ClaimError::Disabled),
            }
        };
        let source = read(user_id, &offer, verdict, period, now);
        self.explain(source, reader).await
    }
}

fn read(user_id: Uuid, offer: &Offer, verdict: Verdict, period: String, as_of: Timestamp) -> Source {
    let condition = offer.condition(verdict.decided_by()).clone();
    let known_by = verdict.evaluation.as_ref().map(|run| run.known_by);
    let ran = verdict.evaluation.map(|run| Ran {
        condition: condition.clone(),
        context: run.context,
        facts: run.facts,
        failure: run.outcome.as_ref().err().map(|failure| failure.code().to_owned()),
        decision: run.outcome.ok(),
        budget_amount: run.budget_amount,
        fuel: run.fuel,
    });
    Source {
        request_id: None,
        event_id: offer.event.id,
        event_revision: offer.event.revision,
        user_id,
        basis: Basis::Read,
        as_of,
        known_by,
        verdict: verdict.status,
        reasons: verdict.reasons,
        progress: verdict.progress,
        retry_at: verdict.retry_at,
        period,
        receipt_digest: None,
        time_zone: offer.zone.name().to_owned(),
        condition,
        ran,
    }
}

fn ran(record: EvaluationRecord, condition: BoundCondition) -> Ran {
    let (decision, failure) = match record.outcome {
        Recorded::Decision(decision) => (Some(decision), None),
        Recorded::Failure(failure) => (None, Some(failure.code)),
    };
    Ran {
        condition,
        context: record.context,
        facts: record.facts,
        decision,
        failure,
        budget_amount: record.budget_amount,
        fuel: record.fuel,
    }
}

/// When the condition says that another claim may be decided otherwise; not of a claim that was granted or held.
fn retry_at(receipt: &crate::claims::receipt::Receipt) -> Option<Timestamp> {
    if receipt.status != Status::Rejected {
        return None;
    }
    match &receipt.evaluation.as_ref()?.outcome {
        Recorded::Decision(decision) => decision.retry_at,
        Recorded::Failure(_) => None,
    }
}
