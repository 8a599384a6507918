//! The terms of receipts, made once for each revision of an event and the condition that decided.
//!
//! Must not know: how a claim is decided.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moka::sync::Cache;
use uuid::Uuid;

use super::error::ClaimError;
use super::receipt::{Limits, OfferedReward, PluginRecord, ReceiptError, Terms};
use super::store::{self, TermsRow};
use super::verdict::Verdict;
use crate::canonical;
use crate::db::Db;
use crate::events::{Arm, Offer};
use crate::plugins::Signer;
use crate::sandbox::Digest;

/// Entries of some hundred bytes.
const CACHED_TERMS: u64 = 10_000;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct TermsService {
    db: Db,
    /// The fingerprint of the sandbox's engine.
    engine: Arc<str>,
    /// The newest of each event and arm, with and without a run of the condition. A claim compares what they depend on, which is
    /// cheaper than to hash it.
    known: Cache<(Uuid, bool, Arm), Arc<StoredTerms>>,
}

/// Terms, and what they depend on within one process. A revision of an event or reward never changes.
struct StoredTerms {
    event_revision: i64,
    reward_revisions: Vec<i64>,
    limits: Option<Limits>,
    signer: Option<Signer>,
    terms: Arc<TermsRow>,
}

impl StoredTerms {
    fn is_of(&self, offer: &Offer, limits: Option<Limits>, signer: Option<&Signer>) -> bool {
        self.event_revision == offer.event.revision
            && self.limits == limits
            && self.signer.as_ref() == signer
            && offer
                .rewards
                .iter()
                .map(|reward| reward.revision)
                .eq(self.reward_revisions.iter().copied())
    }
}

impl TermsService {
    pub(super) fn new(db: Db, engine: Arc<str>) -> Self {
        Self {
            db,
            engine,
            known: Cache::new(CACHED_TERMS),
        }
    }

    /// The terms of a decided claim. Its commit stores them, if no commit of this process has.
    pub(super) fn of(&self, offer: &Offer, verdict: &Verdict) -> Result<Arc<TermsRow>, ClaimError> {
        let run = verdict.evaluation.as_ref();
        let (limits, signer) = (run.map(|run| run.limits), run.and_then(|run| run.signer.as_ref()));
        let arm = verdict.decided_by();
        let key = (offer.event.id, run.is_some(), arm);
        if let Some(known) = self.known.get(&key)
            && known.is_of(offer, limits, signer)
        {
            return Ok(Arc::clone(&known.terms));
        }
        let text = canonical::to_string(&self.terms(offer, arm, limits, signer)).map_err(ReceiptError::from)?;
        let terms = Arc::new(TermsRow::new(Digest::of(text.as_bytes()), text));
        let known = StoredTerms {
            event_revision: offer.event.revision,
            reward_revisions: offer.rewards.iter().map(|reward| reward.revision).collect(),
            limits,
            signer: signer.cloned(),
            terms: Arc::clone(&terms),
        };
        self.known.insert(key, Arc::new(known));
        Ok(terms)
    }

    /// The terms with this digest.
    pub(super) async fn find(&self, digest: Digest) -> Result<Terms, ClaimError> {
        let text = store::terms::find(&self.db, digest).await?;
        let text = text.ok_or(ClaimError::NoTerms(digest))?;
        Ok(serde_json::from_str(&text)?)
    }

    fn terms(&self, offer: &Offer, arm: Arm, limits: Option<Limits>, signer: Option<&Signer>) -> Terms {
        let (event, condition) = (&offer.event, offer.condition(arm));
        let rewards = offer.rewards.iter().map(|reward| OfferedReward {
            id: reward.id,
            revision: reward.revision,
            type_: reward.type_.clone(),
            item_id: reward.item_id.clone(),
            value: reward.value,
            duration: reward.duration.clone(),
        });
        Terms {
            format: Terms::FORMAT.to_owned(),
            event_id: event.id,
            event_revision: event.revision,
            title: event.title.clone(),
            starts: event.start_date,
            ends: event.end_date,
            time_zone: event.time_zone.clone(),
            recurrence: event.recurrence,
            seed_commitment: event.seed_commitment.clone(),
            rewards: rewards.collect(),
            plugin: PluginRecord {
                name: condition.plugin.clone(),
                version: condition.version.clone(),
                digest: condition.digest,
                signer: signer.cloned(),
            },
            params: condition.params.clone(),
            queries: condition.plan.queries().to_vec(),
            state: STANDARD.encode(&condition.state),
            engine: self.engine.to_string(),
            limits,
        }
    }
}
