//! The runs of a test, each with its own seed. At the end the test prints one line with the fault and the
//! results. `cargo xtask test --profile long faults:: | grep '^ *fault |'` prints the table of all tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::claims::View;
use super::seed;

/// Printed on drop, so that a failed run is in the table too.
pub struct Run {
    what: &'static str,
    first_seed: u64,
    rounds: u64,
    started: Instant,
    counts: BTreeMap<&'static str, usize>,
    slowest: Duration,
}

impl Run {
    /// `what` is the injected fault.
    pub fn begin(what: &'static str) -> Self {
        Self {
            what,
            first_seed: seed::first(),
            rounds: 0,
            started: Instant::now(),
            counts: BTreeMap::new(),
            slowest: Duration::ZERO,
        }
    }

    /// The random generator of the next round. With its seed in `SEED`, this round is the first.
    pub fn round(&mut self) -> fastrand::Rng {
        let seed = self.first_seed.wrapping_add(self.rounds);
        self.rounds += 1;
        println!("SEED={seed}");
        fastrand::Rng::with_seed(seed)
    }

    /// Adds to a count in the printed line.
    pub fn count(&mut self, what: &'static str, number: usize) {
        *self.counts.entry(what).or_default() += number;
    }

    /// Adds the counts of a client's responses.
    pub fn saw(&mut self, view: &View) {
        self.count("answers", view.answers.len());
        self.count("grants", view.granted());
        self.count("reversals", view.reversed());
        let slowest = view
            .answers
            .iter()
            .map(|answer| answer.answered_at - answer.sent_at)
            .max();
        self.slowest = self.slowest.max(slowest.unwrap_or_default());
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut line = format!("fault | {} | ", self.what);
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let last = self.first_seed.wrapping_add(self.rounds.saturating_sub(1));
        write!(
            line,
            "{test} | runs {} | seeds {}..={last} |",
            self.rounds, self.first_seed
        )
        .ok();
        for (what, number) in &self.counts {
            write!(line, " {number} {what},").ok();
        }
        let (slowest, took) = (self.slowest.as_secs_f64(), self.started.elapsed().as_secs());
        write!(line, " slowest answer {slowest:.2} s, took {took} s | ").ok();
        let result = if std::thread::panicking() {
            "FAILED"
        } else {
            "violations 0"
        };
        println!("{line}{result}");
    }
}
