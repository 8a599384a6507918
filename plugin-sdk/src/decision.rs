//! What a rule answers. It must not know how the answer travels beyond the conversion at the end.

use crate::Instant;
use crate::bindings::types as wire;

/// The outcome of one run of a rule: begin with [`Decision::eligible`] or [`Decision::not_yet`] and add to it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// Whether the user has earned the rewards now.
    pub eligible: bool,
    /// Why, in the order in which a user should read it.
    pub reasons: Vec<Reason>,
    /// How far the user has come.
    pub progress: Vec<Progress>,
    /// Which rewards; ignored unless eligible.
    pub awards: Awards,
    /// When it is worth trying again, if that is known.
    pub retry_at: Option<Instant>,
}

/// Why a rule decided as it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// For programs: kebab-case, the same for ever, e.g. `streak-too-short`.
    pub code: String,
    /// For people: what is missing and what to do, e.g. "Log in on 2 more days in a row."
    pub message: String,
}

/// How far a user has come towards one goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is counted, e.g. `days`.
    pub key: String,
    /// How much there is; from 0 to `target`.
    pub current: i64,
    /// How much is needed.
    pub target: i64,
}

/// Which rewards an eligible user gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awards {
    /// One of each of the event's rewards.
    All,
    /// These and no others, each at most once and within its `max_quantity`.
    Chosen(Vec<Award>),
}

/// So many of one reward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Award {
    /// The id of one of the event's rewards.
    pub reward_id: String,
    /// How many of it.
    pub quantity: u32,
}

impl Decision {
    /// The user has earned it: one of each of the event's rewards, unless [`award`](Self::award) chooses.
    pub fn eligible() -> Self {
        Self {
            eligible: true,
            reasons: Vec::new(),
            progress: Vec::new(),
            awards: Awards::All,
            retry_at: None,
        }
    }

    /// The user has not earned it, at least not yet: they may always claim again.
    ///
    /// The code is for programs and never changes, the message is for people and may.
    pub fn not_yet(code: &str, message: impl Into<String>) -> Self {
        Self {
            eligible: false,
            ..Self::eligible()
        }
        .reason(code, message)
    }

    /// Adds a reason.
    pub fn reason(mut self, code: &str, message: impl Into<String>) -> Self {
        self.reasons.push(Reason {
            code: code.to_owned(),
            message: message.into(),
        });
        self
    }

    /// Adds how far the user has come. `current` is kept within 0 and `target`, so that 12 of 10 reads as 10 of 10.
    pub fn progress(mut self, key: &str, current: impl Into<i64>, target: impl Into<i64>) -> Self {
        let target = target.into();
        let current = current.into().min(target).max(0);
        self.progress.push(Progress {
            key: key.to_owned(),
            current,
            target,
        });
        self
    }

    /// Chooses a reward. The first call replaces "one of each" by this choice, further calls add to it.
    pub fn award(mut self, reward_id: &str, quantity: u32) -> Self {
        let award = Award {
            reward_id: reward_id.to_owned(),
            quantity,
        };
        match &mut self.awards {
            Awards::All => self.awards = Awards::Chosen(vec![award]),
            Awards::Chosen(chosen) => chosen.push(award),
        }
        self
    }

    /// Says when it is worth trying again.
    pub fn retry_at(mut self, instant: Instant) -> Self {
        self.retry_at = Some(instant);
        self
    }
}

impl From<Decision> for wire::Decision {
    fn from(decision: Decision) -> Self {
        Self {
            eligible: decision.eligible,
            reasons: decision
                .reasons
                .into_iter()
                .map(|reason| wire::Reason {
                    code: reason.code,
                    message: reason.message,
                })
                .collect(),
            progress: decision
                .progress
                .into_iter()
                .map(|progress| wire::Progress {
                    key: progress.key,
                    current: progress.current,
                    target: progress.target,
                })
                .collect(),
            awards: match decision.awards {
                Awards::All => wire::Awards::All,
                Awards::Chosen(chosen) => wire::Awards::Chosen(
                    chosen
                        .into_iter()
                        .map(|award| wire::Award {
                            reward_id: award.reward_id,
                            quantity: award.quantity,
                        })
                        .collect(),
                ),
            },
            retry_at: decision.retry_at.map(Instant::millis),
        }
    }
}
