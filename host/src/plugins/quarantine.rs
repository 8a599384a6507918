//! When a plugin version fails too often to go on: a sliding window over the outcomes that this process saw.
//!
//! Only counts; what follows is in `lifecycle`. Every number is bounded, whatever a plugin or its users do.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::config::Quarantine;
use crate::sandbox::Digest;

/// Parts of a window: it moves on by one of them at a time.
const SLICES: i64 = 60;

/// What one run showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub user_id: Uuid,
    pub at: Timestamp,
    /// By the plugin's own fault.
    pub failed: bool,
}

/// What a window held when it was too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Excess {
    pub failures: u64,
    pub runs: u64,
    pub users: usize,
    pub window: Duration,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            failures, runs, users, ..
        } = self;
        let seconds = self.window.as_secs();
        write!(
            f,
            "{failures} of {runs} runs within {seconds} s failed, of at least {users} users"
        )
    }
}

/// The windows of all versions that run here.
#[derive(Debug)]
pub(super) struct Watch {
    rules: Quarantine,
    windows: Mutex<HashMap<Digest, Window>>,
}

#[derive(Debug)]
struct Window {
    /// Of the version's state: with another one, what was seen before no longer counts.
    revision: i64,
    slices: VecDeque<Slice>,
    /// The users who failed last, each once, the latest at the end; no more of them than the rules ask for.
    users: VecDeque<(Uuid, Timestamp)>,
    told: bool,
}

#[derive(Debug)]
struct Slice {
    number: i64,
    runs: u64,
    failures: u64,
}

impl Watch {
    pub(super) fn new(rules: Quarantine) -> Self {
        Self {
            rules,
            windows: Mutex::default(),
        }
    }

    /// Takes note of a run of a version whose state is at this revision. Answers once when it was one too many.
    pub(super) fn saw(&self, digest: Digest, revision: i64, outcome: Outcome) -> Option<Excess> {
        if self.rules.failures == 0 {
            return None;
        }
        let mut windows = self.lock();
        let window = windows.entry(digest).or_insert_with(|| Window::new(revision));
        if window.revision < revision {
            *window = Window::new(revision);
        }
        // A run that began before an operator released the version says nothing about the time since.
        if window.revision > revision {
            return None;
        }
        window.add(&self.rules, outcome);
        let excess = window.excess(&self.rules, outcome.at).filter(|_| !window.told);
        window.told |= excess.is_some();
        excess
    }

    /// What `saw` told could not be acted on: it shall tell again.
    pub(super) fn tell_again(&self, digest: Digest) {
        if let Some(window) = self.lock().get_mut(&digest) {
            window.told = false;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn new(revision: i64) -> Self {
        Self {
            revision,
            slices: VecDeque::new(),
            users: VecDeque::new(),
            told: false,
        }
    }

    fn add(&mut self, rules: &Quarantine, outcome: Outcome) {
        let window = i64::try_from(rules.window.as_millis()).unwrap_or(i64::MAX);
        let number = outcome.at.as_millis() / (window / SLICES).max(1);
        // Claims that arrived out of order go to the slice that is open.
        if self.slices.back().is_none_or(|slice| slice.number < number) {
            self.slices.push_back(Slice {
                number,
                runs: 0,
                failures: 0,
            });
        }
        self.slices.retain(|slice| slice.number > number - SLICES);
        if let Some(slice) = self.slices.back_mut() {
            slice.runs += 1;
            slice.failures += u64::from(outcome.failed);
        }
        if outcome.failed {
            self.users.retain(|(user_id, _)| *user_id != outcome.user_id);
            self.users.push_back((outcome.user_id, outcome.at));
            if self.users.len() > rules.users {
                self.users.pop_front();
            }
        }
    }

    fn excess(&self, rules: &Quarantine, now: Timestamp) -> Option<Excess> {
        let (runs, failures) = self.slices.iter().fold((0, 0), |(runs, failures), slice| {
            (runs + slice.runs, failures + slice.failures)
        });
        let since = now.minus(rules.window);
        let users = self.users.iter().filter(|(_, at)| *at > since).count();
        let too_many = failures >= u64::from(rules.failures)
            && failures * 100 >= runs * u64::from(rules.percent)
            && users >= rules.users;
        too_many.then_some(Excess {
            failures,
            runs,
            users,
            window: rules.window,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Quarantine = Quarantine {
        window: Duration::from_mins(1),
        failures: 4,
        percent: 50,
        users: 3,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_772_000_000_000 + seconds * 1000).unwrap()
    }

    fn digest() -> Digest {
        Digest::of(b"a plugin")
    }

    /// Runs of these users at these seconds; says after how many the watch told.
    fn told(watch: &Watch, runs: &[(u128, i64, bool)]) -> Option<usize> {
        runs.iter().position(|(user, seconds, failed)| {
            let outcome = Outcome {
                user_id: Uuid::from_u128(*user),
                at: at(*seconds),
                failed: *failed,
            };
            watch.saw(digest(), 1, outcome).is_some()
        })
    }

    #[test]
    fn enough_failures_of_enough_users_are_told_once() {
        let watch = Watch::new(RULES);
        let runs: Vec<_> = (0..10).map(|user| (user, 0, true)).collect();
        assert_eq!(told(&watch, &runs), Some(3));
        assert_eq!(told(&watch, &runs), None);
        watch.tell_again(digest());
        assert_eq!(told(&watch, &runs), Some(0));
    }

    #[test]
    fn two_users_cannot_stop_it_however_often_they_fail() {
        let runs: Vec<_> = (0..1000).map(|run| (run % 2, 0, true)).collect();
        assert_eq!(told(&Watch::new(RULES), &runs), None);
    }

    #[test]
    fn most_runs_must_fail() {
        let half: Vec<_> = (0..8).map(|run| (run, 0, run % 2 == 1)).collect();
        assert_eq!(told(&Watch::new(RULES), &half), Some(7));
        let third: Vec<_> = (0..900).map(|run| (run, 0, run % 3 == 2)).collect();
        assert_eq!(told(&Watch::new(RULES), &third), None);
    }

    #[test]
    fn what_left_the_window_no_longer_counts() {
        let slow: Vec<_> = (0..100_u8).map(|run| (run.into(), i64::from(run) * 20, true)).collect();
        assert_eq!(told(&Watch::new(RULES), &slow), None);
        let faster: Vec<_> = (0..100_u8).map(|run| (run.into(), i64::from(run) * 19, true)).collect();
        assert_eq!(told(&Watch::new(RULES), &faster), Some(3));
    }

    #[test]
    fn a_changed_state_starts_a_new_window_and_late_runs_of_before_are_ignored() {
        let watch = Watch::new(RULES);
        let saw = |revision, user| {
            let outcome = Outcome {
                user_id: Uuid::from_u128(user),
                at: at(0),
                failed: true,
            };
            watch.saw(digest(), revision, outcome).is_some()
        };
        assert_eq!((0..3).filter(|user| saw(1, *user)).count(), 0);
        assert!(!saw(3, 3), "a new window");
        assert_eq!((0..9).filter(|user| saw(1, *user)).count(), 0);
        assert_eq!((4..7).filter(|user| saw(3, *user)).count(), 1);
    }

    #[test]
    fn nothing_is_kept_when_it_is_off() {
        let rules = Quarantine { failures: 0, ..RULES };
        let watch = Watch::new(rules);
        let runs: Vec<_> = (0..100).map(|user| (user, 0, true)).collect();
        assert_eq!(told(&watch, &runs), None);
        assert!(watch.lock().is_empty());
    }
}
