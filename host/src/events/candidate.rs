//! The candidate of an event: a condition of a release that live claims try before it becomes the condition of the event.
//!
//! Every change of the candidate is a revision of the event. A commit confirms the revision, so a step takes effect for
//! all claims of all processes at one instant. Must not know: releases and their states, claims, and what a decision is.

mod change;
mod joint;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::{Display, EnumString};
use utoipa::ToSchema;
use uuid::Uuid;

pub use joint::{JointPlan, TooManyQueries};

use crate::db::text_column;
use crate::facts::Plan;
use crate::plugins::BoundCondition;
use crate::sandbox::Digest;

/// All users: 1000 permille.
pub const ALL: u16 = 1000;

/// A condition that live claims try.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventCandidate)]
pub struct Candidate {
    /// The release that tries it
    pub release_id: Uuid,
    pub condition: BoundCondition,
    #[serde(flatten)]
    pub mode: Mode,
}

/// What the candidate does to claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "mode", rename_all = "UPPERCASE")]
#[schema(as = EventCandidateMode)]
pub enum Mode {
    /// It is evaluated, and decides nothing
    Shadow,
    /// It decides the claims of a share of the users, always the same ones
    Canary {
        /// The share, from 0 to 1000
        #[schema(example = 100, minimum = 0, maximum = 1000)]
        permille: u16,
    },
}

impl Mode {
    /// Whether the candidate decides the claims of the user with this ticket (see [`super::Secret::ticket`]). A larger
    /// share only adds users.
    pub fn decides(self, ticket: u16) -> bool {
        match self {
            Self::Shadow => false,
            Self::Canary { permille } => ticket < permille,
        }
    }

    /// The share of the users whose claims it decides.
    pub fn permille(self) -> u16 {
        match self {
            Self::Shadow => 0,
            Self::Canary { permille } => permille.min(ALL),
        }
    }
}

/// Whose decision it is, and the part of the users for whom it decides.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Display, EnumString, ToSchema,
)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
#[schema(as = TrialArm)]
pub enum Arm {
    /// The condition of the event
    Stable,
    /// The condition of the release
    Candidate,
}

text_column!(Arm);

impl Arm {
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Stable => Self::Candidate,
            Self::Candidate => Self::Stable,
        }
    }
}

/// One revision of an event with a candidate.
#[derive(Clone, Debug)]
pub struct Trial {
    pub event_id: Uuid,
    pub event_revision: i64,
    pub stable: BoundCondition,
    pub candidate: Candidate,
    /// The queries of both.
    pub joint: JointPlan,
}

impl Trial {
    pub fn condition(&self, arm: Arm) -> &BoundCondition {
        match arm {
            Arm::Stable => &self.stable,
            Arm::Candidate => &self.candidate.condition,
        }
    }
}

/// A candidate as its event's row holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StoredCandidate {
    release_id: Uuid,
    /// None in the shadow mode.
    permille: Option<u16>,
    plugin: String,
    version: String,
    pub(super) digest: Digest,
    params: Value,
    queries: Plan,
    /// In base64.
    state: String,
}

impl StoredCandidate {
    pub(super) fn queries(&self) -> &Plan {
        &self.queries
    }
}

impl From<Candidate> for StoredCandidate {
    fn from(candidate: Candidate) -> Self {
        let condition = candidate.condition;
        Self {
            release_id: candidate.release_id,
            permille: match candidate.mode {
                Mode::Shadow => None,
                Mode::Canary { permille } => Some(permille),
            },
            plugin: condition.plugin,
            version: condition.version,
            digest: condition.digest,
            params: condition.params,
            queries: condition.plan,
            state: STANDARD.encode(condition.state),
        }
    }
}

impl TryFrom<StoredCandidate> for Candidate {
    type Error = base64::DecodeError;

    fn try_from(stored: StoredCandidate) -> Result<Self, Self::Error> {
        Ok(Self {
            release_id: stored.release_id,
            mode: stored
                .permille
                .map_or(Mode::Shadow, |permille| Mode::Canary { permille }),
            condition: BoundCondition {
                plugin: stored.plugin,
                version: stored.version,
                digest: stored.digest,
                params: stored.params,
                plan: stored.queries,
                state: STANDARD.decode(stored.state)?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::events::seed::Secret;

    fn users() -> impl Iterator<Item = Uuid> {
        (0..10_000_u128).map(|n| Uuid::from_u128(n * 0x9e37_79b9_7f4a_7c15))
    }

    proptest! {
        #[test]
        fn a_larger_share_only_adds_users(secret: [u8; 32], event: u128, user: u128, small in 0..=ALL, more in 0..=ALL) {
            let ticket = Secret::new(&secret).unwrap().ticket(Uuid::from_u128(event), Uuid::from_u128(user));
            let (small, large) = (small.min(more), small.max(more));
            let decides = |permille| Mode::Canary { permille }.decides(ticket);
            prop_assert!(!decides(small) || decides(large));
            prop_assert!(!decides(0));
            prop_assert!(decides(ALL));
            prop_assert!(!Mode::Shadow.decides(ticket));
        }
    }

    #[test]
    fn a_share_has_its_size_and_is_another_one_for_another_event() {
        let secret = Secret::new(&[7; 32]).unwrap();
        let share = |event: u128| {
            let mode = Mode::Canary { permille: 100 };
            let ticket = |user: &Uuid| secret.ticket(Uuid::from_u128(event), *user);
            users().filter(|user| mode.decides(ticket(user))).collect::<Vec<_>>()
        };
        let (one, other) = (share(1), share(2));
        assert!((900..1100).contains(&one.len()), "{}", one.len());
        assert!((900..1100).contains(&other.len()), "{}", other.len());
        let both = one.iter().filter(|user| other.contains(user)).count();
        assert!((50..160).contains(&both), "{both}");
        assert_eq!(one, share(1));
    }

    #[test]
    fn a_stored_candidate_is_the_same_candidate() {
        for mode in [
            Mode::Shadow,
            Mode::Canary { permille: 0 },
            Mode::Canary { permille: 250 },
        ] {
            let candidate = Candidate {
                release_id: Uuid::from_u128(1),
                condition: BoundCondition {
                    plugin: "streak".to_owned(),
                    version: "1.0.0".to_owned(),
                    digest: Digest::of(b"module"),
                    params: serde_json::json!({"days": 7}),
                    plan: Plan::default(),
                    state: vec![0, 255, 7],
                },
                mode,
            };
            let text = serde_json::to_string(&StoredCandidate::from(candidate.clone())).unwrap();
            let stored: StoredCandidate = serde_json::from_str(&text).unwrap();
            assert_eq!(Candidate::try_from(stored).unwrap(), candidate);
        }
    }
}
