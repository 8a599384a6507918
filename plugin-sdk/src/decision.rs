//! Builders for a [`Decision`]. The type itself is the contract's.

use std::fmt::Display;

use crate::{Argument, Award, Awards, Decision, Outcome, Progress, Reason, Timestamp};

impl Decision {
    /// The user is eligible: for one of each of the event's rewards, unless [`award`](Self::award) chooses.
    #[must_use]
    pub fn eligible() -> Self {
        Self {
            outcome: Outcome::Eligible,
            reasons: Vec::new(),
            progress: Vec::new(),
            awards: Awards::All,
            retry_at: None,
        }
    }

    /// The user is not eligible yet; they may always claim again.
    ///
    /// The code is for programs and never changes. The message is for people and may change.
    #[must_use]
    pub fn not_yet(code: &str, message: impl Into<String>) -> Self {
        Self::eligible().refuse(code, message)
    }

    /// A person has to decide. The awards are those that an approval grants.
    #[must_use]
    pub fn needs_review(code: &str, message: impl Into<String>) -> Self {
        Self::eligible().review(code, message)
    }

    /// Makes the user not eligible, and adds the reason.
    #[must_use]
    pub fn refuse(mut self, code: &str, message: impl Into<String>) -> Self {
        self.outcome = Outcome::NotEligible;
        self.reason(code, message)
    }

    /// Turns an eligible decision into one that needs review, and adds the reason. A refused decision stays refused.
    #[must_use]
    pub fn review(mut self, code: &str, message: impl Into<String>) -> Self {
        if self.outcome == Outcome::Eligible {
            self.outcome = Outcome::NeedsReview;
        }
        self.reason(code, message)
    }

    /// Adds a reason.
    #[must_use]
    pub fn reason(mut self, code: &str, message: impl Into<String>) -> Self {
        self.reasons.push(Reason {
            code: code.to_owned(),
            message: message.into(),
            args: Vec::new(),
        });
        self
    }

    /// Adds a named value to the last reason, so that clients can translate its message: `code` and args are the key,
    /// the message is the fallback. Without a reason it does nothing.
    #[must_use]
    pub fn arg(self, name: &str, value: impl Display) -> Self {
        // Only this call is generic, to keep plugins small.
        self.add_arg(name, format!("{value}"))
    }

    fn add_arg(mut self, name: &str, value: String) -> Self {
        if let Some(reason) = self.reasons.last_mut() {
            let name = name.to_owned();
            reason.args.push(Argument { name, value });
        }
        self
    }

    /// Whether the user is eligible.
    pub fn is_eligible(&self) -> bool {
        self.outcome == Outcome::Eligible
    }

    /// Adds the user's progress towards a goal. `current` is kept within 0 and `target`: 12 of 10 becomes 10 of 10.
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

    /// Sets the instant at which a new claim may end differently.
    #[must_use]
    pub fn retry_at(mut self, instant: Timestamp) -> Self {
        self.retry_at = Some(instant.millis());
        self
    }
}
