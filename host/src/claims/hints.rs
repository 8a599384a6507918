//! Repeats of claims that were granted: answered from memory, as long as they would be answered the same.
//!
//! A hint says that a user has all grants of an event in a period, and which is the newest; it is good for the revision
//! of the event at which it was true. It is never used to grant, and whoever takes a grant back must call
//! [`Hints::forget`] just before the commit, whose answer may be lost. What is not told is bounded by time: a process that hears the others trusts a hint
//! for a minute, one that does not for two seconds.

use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::model::{RewardRequest, Status};
use super::service::RequestError;
use super::settle::Claim;
use crate::cache::{Cache as Shared, Invalidation, Topic};
use crate::clock::Timestamp;
use crate::events::Offer;

/// While changes are heard from other processes.
const TRUSTED: Duration = Duration::from_mins(1);
/// While they are not: as long as anything else that a process remembers.
const TRUSTED_ALONE: Duration = Duration::from_secs(2);
/// A grant that is taken back stays so: whoever reads before that does not put the hint back, also with a clock that is
/// half a minute off, if the commit takes half a minute.
const BARRED: Duration = Duration::from_mins(2);
/// About 300 bytes each.
const CAPACITY: u64 = 100_000;

/// Wired by the service; cheap to clone.
#[derive(Clone)]
pub(super) struct Hints {
    shared: Shared,
    known: Cache<String, Hint>,
    /// Taken back or about to be, here or at another process. It is asked last, as a slow answer from Redis may come late.
    forgotten: Cache<String, ()>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Hint {
    event_revision: i64,
    reward_request_id: Uuid,
    grant_ids: Vec<Uuid>,
    /// The database said so then, or later.
    #[serde(skip, default = "long_ago")]
    at: Timestamp,
}

impl Hints {
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            shared,
            known: bounded(TRUSTED),
            forgotten: bounded(BARRED),
        }
    }

    /// The answer to a repeat, if it is known to be one. No database.
    pub(super) async fn look(&self, claim: &Claim, offer: &Offer) -> Option<RequestError> {
        let (event, now) = (&offer.event, claim.received_at);
        let name = name(event.id, claim.user_id, &event.recurrence.period.key(now, &offer.zone));
        let hint = self.find(&name, now).await?;
        (hint.event_revision == event.revision).then(|| RequestError::AlreadyGranted {
            reward_request_id: hint.reward_request_id,
            grant_ids: hint.grant_ids,
            next_at: event
                .recurrence
                .period
                .next_start(now, &offer.zone)
                .filter(|at| *at < event.end_date),
        })
    }

    /// Takes note of what a claim was answered with, if repeats of it will not be granted. `before`: how many grants the
    /// user had in the period.
    pub(super) async fn note(&self, claim: &Claim, offer: &Offer, before: u32, request: &RewardRequest) {
        if request.status == Status::Granted && before + 1 >= offer.event.recurrence.count {
            // A claim that waited may have been received long ago.
            let waited = claim.waited.and(request.decided_at);
            let hint = Hint {
                event_revision: offer.event.revision,
                reward_request_id: request.id,
                grant_ids: request.grants.iter().map(|grant| grant.id).collect(),
                at: waited.unwrap_or(claim.received_at),
            };
            let name = name(claim.event_id, claim.user_id, &request.period);
            self.remember(name, hint).await;
        }
    }

    /// Takes note of a repeat that the database answered.
    pub(super) async fn note_repeat(&self, claim: &Claim, offer: &Offer, period: &str, answer: &RequestError) {
        if let RequestError::AlreadyGranted {
            reward_request_id,
            grant_ids,
            ..
        } = answer
        {
            let hint = Hint {
                event_revision: offer.event.revision,
                reward_request_id: *reward_request_id,
                grant_ids: grant_ids.clone(),
                at: claim.received_at,
            };
            self.remember(name(claim.event_id, claim.user_id, period), hint).await;
        }
    }

    /// A grant of the user in this period is about to be taken back.
    pub(super) async fn forget(&self, event_id: Uuid, user_id: Uuid, period: &str) {
        let name = name(event_id, user_id, period);
        self.bar(&name).await;
        self.shared.invalidate(&shared_key(&name), BARRED).await;
        self.shared.publish(Topic::Granted(name)).await;
    }

    /// Another process took grants back.
    pub(super) async fn on_invalidation(&self, invalidation: &Invalidation) {
        match invalidation {
            Invalidation::Changed(Topic::Granted(name)) => self.bar(name).await,
            Invalidation::Changed(_) => {}
            Invalidation::All => self.known.invalidate_all(),
        }
    }

    async fn bar(&self, name: &str) {
        self.forgotten.insert(name.to_owned(), ()).await;
        self.known.invalidate(name).await;
    }

    async fn find(&self, name: &str, now: Timestamp) -> Option<Hint> {
        let trusted = if self.shared.is_shared() {
            TRUSTED
        } else {
            TRUSTED_ALONE
        };
        let known = self.known.get(name).await;
        let hint = if let Some(hint) = known.filter(|hint| hint.at <= now && now < hint.at.plus(trusted)) {
            hint
        } else {
            let (at, value) = self.shared.get(&shared_key(name), now, trusted).await?;
            let hint = serde_json::from_slice::<Hint>(&value).ok()?;
            let hint = Hint { at, ..hint };
            self.known.insert(name.to_owned(), hint.clone()).await;
            hint
        };
        (!self.forgotten.contains_key(name)).then_some(hint)
    }

    async fn remember(&self, name: String, hint: Hint) {
        if let Ok(value) = serde_json::to_vec(&hint) {
            self.shared.put(&shared_key(&name), hint.at, &value, TRUSTED);
        }
        self.known.insert(name, hint).await;
    }
}

fn bounded<T: Clone + Send + Sync + 'static>(lifetime: Duration) -> Cache<String, T> {
    Cache::builder()
        .max_capacity(CAPACITY)
        .eviction_policy(EvictionPolicy::lru())
        .time_to_live(lifetime)
        .build()
}

fn name(event_id: Uuid, user_id: Uuid, period: &str) -> String {
    format!("{event_id}:{user_id}:{period}")
}

fn shared_key(name: &str) -> String {
    format!("hint:{name}")
}

fn long_ago() -> Timestamp {
    Timestamp::EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_772_366_400_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(NOON + seconds * 1000).unwrap()
    }

    fn hint(seconds: i64) -> Hint {
        Hint {
            event_revision: 1,
            reward_request_id: Uuid::from_u128(1),
            grant_ids: vec![Uuid::from_u128(2)],
            at: at(seconds),
        }
    }

    fn alone() -> Hints {
        Hints::new(Shared::in_process(&[0; 32]))
    }

    #[tokio::test]
    async fn a_process_that_hears_nobody_trusts_a_hint_for_two_seconds() {
        let hints = alone();
        hints.remember("name".to_owned(), hint(0)).await;
        assert_eq!(hints.find("name", at(1)).await, Some(hint(0)));
        assert_eq!(hints.find("name", at(2)).await, None);
        assert_eq!(hints.find("name", at(-1)).await, None, "from the future");
        assert_eq!(hints.find("another", at(1)).await, None);
    }

    #[tokio::test]
    async fn what_was_forgotten_is_not_remembered_by_whoever_is_late() {
        let (event, user) = (Uuid::from_u128(3), Uuid::from_u128(4));
        let hints = alone();
        let name = name(event, user, "once");
        hints.remember(name.clone(), hint(0)).await;
        hints.forget(event, user, "once").await;
        assert_eq!(hints.find(&name, at(0)).await, None);
        hints.remember(name.clone(), hint(0)).await;
        assert_eq!(hints.find(&name, at(0)).await, None);
    }

    #[tokio::test]
    async fn what_another_process_tells_is_forgotten_and_what_it_may_have_told_too() {
        let hints = alone();
        for name in ["one", "two"] {
            hints.remember(name.to_owned(), hint(0)).await;
        }
        hints
            .on_invalidation(&Invalidation::Changed(Topic::Granted("one".to_owned())))
            .await;
        assert_eq!(hints.find("one", at(0)).await, None);
        assert_eq!(hints.find("two", at(0)).await, Some(hint(0)));
        hints.on_invalidation(&Invalidation::All).await;
        assert_eq!(hints.find("two", at(0)).await, None);
    }
}
