//! Which copies of rewards are stale: those that were read before a change of the reward, or before a return to its stock.
//!
//! Must not know: who keeps copies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// Rewards share a place, so the memory is bounded. A change of one makes copies of the others of its place stale, too.
const PLACES: usize = 4096;

/// Counts the changes that this process has seen, and remembers the latest of each reward. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Generations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    current: AtomicU64,
    /// The generation of the latest change of all rewards.
    all: AtomicU64,
    places: Vec<AtomicU64>,
}

impl Generations {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            current: AtomicU64::default(),
            all: AtomicU64::default(),
            places: (0..PLACES).map(|_| AtomicU64::default()).collect(),
        }))
    }

    /// To be read before a reward is.
    pub(super) fn current(&self) -> u64 {
        self.0.current.load(Ordering::SeqCst)
    }

    /// Whether one of these rewards, read at that generation, may have changed since.
    pub(super) fn is_stale(&self, rewards: impl IntoIterator<Item = Uuid>, generation: u64) -> bool {
        generation < self.0.all.load(Ordering::SeqCst)
            || rewards
                .into_iter()
                .any(|reward| generation < self.place(reward).load(Ordering::SeqCst))
    }

    /// Call it after the commit.
    pub(super) fn changed(&self, reward: Uuid) {
        let next = self.next();
        self.place(reward).fetch_max(next, Ordering::SeqCst);
    }

    /// Any reward may have changed.
    pub(super) fn all_changed(&self) {
        let next = self.next();
        self.0.all.fetch_max(next, Ordering::SeqCst);
    }

    fn next(&self) -> u64 {
        self.0.current.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The last bits of a `UUIDv7` are random.
    fn place(&self, reward: Uuid) -> &AtomicU64 {
        let place = usize::try_from(reward.as_u128() % PLACES as u128).unwrap_or_default();
        &self.0.places[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_makes_only_copies_of_its_reward_stale() {
        let (generations, one, other) = (Generations::new(), Uuid::from_u128(1), Uuid::from_u128(2));
        let before = generations.current();
        assert!(!generations.is_stale([one, other], before));
        generations.changed(one);
        assert!(generations.is_stale([other, one], before));
        assert!(!generations.is_stale([other], before));
        assert!(!generations.is_stale([one], generations.current()));
        generations.all_changed();
        assert!(generations.is_stale([other], before));
        assert!(!generations.is_stale([one, other], generations.current()));
    }
}
