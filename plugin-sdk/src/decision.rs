//! How a rule says what it decides: the words that build a [`Decision`]. The type itself is the contract's.

use crate::{Award, Awards, Decision, Progress, Reason, Timestamp};

impl Decision {
    /// The user has earned it: one of each of the event's rewards, unless [`award`](Self::award) chooses.
    #[must_use]
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
    #[must_use]
    pub fn not_yet(code: &str, message: impl Into<String>) -> Self {
        Self {
            eligible: false,
            ..Self::eligible()
        }
        .reason(code, message)
    }

    /// Makes it "not yet", for one more reason.
    #[must_use]
    pub fn refuse(mut self, code: &str, message: impl Into<String>) -> Self {
        self.eligible = false;
        self.reason(code, message)
    }

    /// Adds a reason.
    #[must_use]
    pub fn reason(mut self, code: &str, message: impl Into<String>) -> Self {
        self.reasons.push(Reason {
            code: code.to_owned(),
            message: message.into(),
        });
        self
    }

    /// Adds how far the user has come. `current` is kept within 0 and `target`, so that 12 of 10 reads as 10 of 10.
    #[must_use]
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
    #[must_use]
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
    #[must_use]
    pub fn retry_at(mut self, instant: Timestamp) -> Self {
        self.retry_at = Some(instant.millis());
        self
    }
}
