//! Detects plugin versions that fail too often, with a sliding window over the runs of this process.
//!
//! It only counts; `lifecycle` puts versions into quarantine. The memory per version is bounded.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::config::Quarantine;
use crate::sandbox::Digest;

/// The length of the window.
const WINDOW: Duration = Duration::from_mins(5);
/// The minimum percentage of runs that must fail.
const PERCENT: u64 = 50;
/// The number of slices of a window, which moves forward by one slice at a time.
const SLICES: i64 = 60;

/// The outcome of one run of a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunOutcome {
    pub user_id: Uuid,
    pub at: Timestamp,
    /// The run failed, and the plugin is the cause.
    pub failed: bool,
}

/// The counts of a window that exceeded the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Excess {
    pub failures: u64,
    pub runs: u64,
    pub users: usize,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { failures, runs, users } = self;
        let seconds = WINDOW.as_secs();
        write!(
            f,
            "{failures} of {runs} runs failed within {seconds} s, for at least {users} users"
        )
    }
}

/// The windows of all versions that run in this process.
#[derive(Debug)]
pub(super) struct FailureMonitor {
    rules: Quarantine,
    windows: Mutex<HashMap<Digest, Window>>,
}

#[derive(Debug)]
struct Window {
    /// The revision of the version's state. A new revision resets the window.
    revision: i64,
    slices: VecDeque<Slice>,
    /// The users with the latest failures, each once, newest last; at most as many as the rules require.
    users: VecDeque<(Uuid, Timestamp)>,
    reported: bool,
}

#[derive(Debug)]
struct Slice {
    number: i64,
    runs: u64,
    failures: u64,
}

impl FailureMonitor {
    pub(super) fn new(rules: Quarantine) -> Self {
        Self {
            rules,
            windows: Mutex::default(),
        }
    }

    /// Records a run of a version with this revision of its state. Returns the excess once, when the limits are
    /// exceeded.
    pub(super) fn record(&self, digest: Digest, revision: i64, outcome: RunOutcome) -> Option<Excess> {
        if self.rules.failures == 0 {
            return None;
        }
        let mut windows = self.windows.lock();
        let window = windows.entry(digest).or_insert_with(|| Window::new(revision));
        if window.revision < revision {
            *window = Window::new(revision);
        }
        // Ignore runs that began before the current revision, for example before an operator released the version.
        if window.revision > revision {
            return None;
        }
        window.add(&self.rules, outcome);
        let excess = window.excess(&self.rules, outcome.at).filter(|_| !window.reported);
        window.reported |= excess.is_some();
        excess
    }

    /// Makes [`Self::record`] report the excess again, after the quarantine could not be stored.
    pub(super) fn report_again(&self, digest: Digest) {
        if let Some(window) = self.windows.lock().get_mut(&digest) {
            window.reported = false;
        }
    }
}

impl Window {
    fn new(revision: i64) -> Self {
        Self {
            revision,
            slices: VecDeque::new(),
            users: VecDeque::new(),
            reported: false,
        }
    }

    fn add(&mut self, rules: &Quarantine, outcome: RunOutcome) {
        let window = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
        let number = outcome.at.as_millis() / (window / SLICES).max(1);
        // A run that arrives out of order counts in the current slice.
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
        let since = now.minus(WINDOW);
        let users = self.users.iter().filter(|(_, at)| *at > since).count();
        let too_many =
            failures >= u64::from(rules.failures) && failures * 100 >= runs * PERCENT && users >= rules.users;
        too_many.then_some(Excess { failures, runs, users })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Quarantine = Quarantine { failures: 4, users: 3 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_772_000_000_000 + seconds * 1000).unwrap()
    }

    fn digest() -> Digest {
        Digest::of(b"a plugin")
    }

    /// Records these runs (user, second, failed) and returns the index of the one that exceeded the limits.
    fn exceeded_at(monitor: &FailureMonitor, runs: &[(u128, i64, bool)]) -> Option<usize> {
        runs.iter().position(|(user, seconds, failed)| {
            let outcome = RunOutcome {
                user_id: Uuid::from_u128(*user),
                at: at(*seconds),
                failed: *failed,
            };
            monitor.record(digest(), 1, outcome).is_some()
        })
    }

    #[test]
    fn enough_failures_of_enough_users_are_reported_once() {
        let monitor = FailureMonitor::new(RULES);
        let runs: Vec<_> = (0..10).map(|user| (user, 0, true)).collect();
        assert_eq!(exceeded_at(&monitor, &runs), Some(3));
        assert_eq!(exceeded_at(&monitor, &runs), None);
        monitor.report_again(digest());
        assert_eq!(exceeded_at(&monitor, &runs), Some(0));
    }

    #[test]
    fn failures_of_two_users_are_never_enough() {
        let runs: Vec<_> = (0..1000).map(|run| (run % 2, 0, true)).collect();
        assert_eq!(exceeded_at(&FailureMonitor::new(RULES), &runs), None);
    }

    #[test]
    fn the_failure_rate_must_reach_the_limit() {
        let half: Vec<_> = (0..8).map(|run| (run, 0, run % 2 == 1)).collect();
        assert_eq!(exceeded_at(&FailureMonitor::new(RULES), &half), Some(7));
        let third: Vec<_> = (0..900).map(|run| (run, 0, run % 3 == 2)).collect();
        assert_eq!(exceeded_at(&FailureMonitor::new(RULES), &third), None);
    }

    #[test]
    fn runs_before_the_window_do_not_count() {
        let slow: Vec<_> = (0..100_u8)
            .map(|run| (run.into(), i64::from(run) * 100, true))
            .collect();
        assert_eq!(exceeded_at(&FailureMonitor::new(RULES), &slow), None);
        let faster: Vec<_> = (0..100_u8).map(|run| (run.into(), i64::from(run) * 95, true)).collect();
        assert_eq!(exceeded_at(&FailureMonitor::new(RULES), &faster), Some(3));
    }

    #[test]
    fn a_new_revision_resets_the_window_and_ignores_late_runs() {
        let monitor = FailureMonitor::new(RULES);
        let record = |revision, user| {
            let outcome = RunOutcome {
                user_id: Uuid::from_u128(user),
                at: at(0),
                failed: true,
            };
            monitor.record(digest(), revision, outcome).is_some()
        };
        assert_eq!((0..3).filter(|user| record(1, *user)).count(), 0);
        assert!(!record(3, 3), "a new window");
        assert_eq!((0..9).filter(|user| record(1, *user)).count(), 0);
        assert_eq!((4..7).filter(|user| record(3, *user)).count(), 1);
    }

    #[test]
    fn a_disabled_quarantine_keeps_no_windows() {
        let rules = Quarantine { failures: 0, ..RULES };
        let monitor = FailureMonitor::new(rules);
        let runs: Vec<_> = (0..100).map(|user| (user, 0, true)).collect();
        assert_eq!(exceeded_at(&monitor, &runs), None);
        assert!(monitor.windows.lock().is_empty());
    }
}
