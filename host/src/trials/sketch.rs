//! The number of different users, from a few hashes: the k smallest ones. Sketches of several processes can be joined.
//!
//! Exact up to k; beyond, an estimate (Z. Bar-Yossef et al., Counting Distinct Elements in a Data Stream, RANDOM 2002).

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The relative standard error of an estimate is about `1 / sqrt(K - 2)`.
const K: usize = 256;

/// The smallest hashes. As 53 bits, so that a JSON reader with doubles sees the same numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sketch(BTreeSet<u64>);

impl Sketch {
    pub(super) fn add(&mut self, user: Uuid) {
        let hash = digest(&SHA256, user.as_bytes());
        let first = hash.as_ref().first_chunk::<8>();
        self.insert(first.map_or(0, |first| u64::from_be_bytes(*first)) >> 11);
    }

    pub(super) fn join(&mut self, other: &Self) {
        for hash in &other.0 {
            self.insert(*hash);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn insert(&mut self, hash: u64) {
        self.0.insert(hash);
        if self.0.len() > K {
            self.0.pop_last();
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    pub(super) fn count(&self) -> u64 {
        match self.0.last() {
            Some(largest) if self.0.len() == K => {
                let part = (*largest as f64 + 1.0) / (1_u64 << 53) as f64;
                ((K - 1) as f64 / part) as u64
            }
            _ => self.0.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(users: std::ops::Range<u128>) -> Sketch {
        let mut sketch = Sketch::default();
        users.for_each(|user| sketch.add(Uuid::from_u128(user)));
        sketch
    }

    #[test]
    fn few_users_are_counted_exactly_and_once() {
        assert_eq!(Sketch::default().count(), 0);
        let mut sketch = of(0..200);
        sketch.join(&of(100..220));
        assert_eq!(sketch.count(), 220);
        sketch.join(&of(0..220));
        assert_eq!(sketch.count(), 220);
    }

    #[test]
    fn many_users_are_estimated_also_over_several_processes() {
        let mut sketch = of(0..60_000);
        sketch.join(&of(40_000..100_000));
        assert_eq!(sketch, of(0..100_000));
        let estimate = sketch.count();
        assert!((75_000..125_000).contains(&estimate), "{estimate}");
    }

    #[test]
    fn a_stored_sketch_is_the_same() {
        let sketch = of(0..1000);
        let text = serde_json::to_string(&sketch).unwrap();
        assert_eq!(serde_json::from_str::<Sketch>(&text).unwrap(), sketch);
    }
}
