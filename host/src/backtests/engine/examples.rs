//! A bounded number of examples, those with the smallest hash. So the order in which the owners are replayed changes nothing.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::walk::Answer;
use crate::clock::Timestamp;

/// The most examples of one kind.
pub const EXAMPLES: usize = 10;

/// One user at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    pub user_id: Uuid,
    /// The instant to simulate.
    pub as_of: Timestamp,
    pub period: String,
    /// Whether the user really claimed then.
    pub claimed: bool,
    pub before: Answer,
    pub after: Answer,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examples(Vec<Example>);

impl Examples {
    pub fn add(&mut self, example: Example) {
        self.0.push(example);
        self.0
            .sort_by_key(|example| (stable_hash(example.user_id), example.as_of));
        self.0.truncate(EXAMPLES);
    }

    pub fn merge(&mut self, other: &Self) {
        for example in &other.0 {
            self.add(example.clone());
        }
    }

    pub fn as_slice(&self) -> &[Example] {
        &self.0
    }
}

/// 63 bits that depend on the user alone: a sample is the users with the smallest.
pub fn stable_hash(user_id: Uuid) -> i64 {
    let hash = digest(&SHA256, format!("meed-sample/1\n{user_id}").as_bytes());
    let first = hash.as_ref().first_chunk::<8>().copied().unwrap_or_default();
    i64::from_be_bytes(first) & i64::MAX
}
