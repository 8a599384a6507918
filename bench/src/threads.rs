//! Compares the throughput of one and two threads, which share the pool, the allocator and the kernel.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use meed_host::sandbox::Sandbox;

use crate::rules::{self, DAYS, Rule};

const TURN: Duration = Duration::from_millis(200);
const ROUNDS: usize = 12;

/// Decisions per second of one thread and of two threads, the best of several rounds each.
pub(crate) struct Scaling {
    sandbox: [f64; 2],
    /// The same for the native rule, which shares nothing: what two threads can achieve on this machine now.
    native: [f64; 2],
}

impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, two] = self.sandbox;
        let [native_one, native_two] = self.native;
        write!(
            f,
            "two threads: {two:.0} decisions per second, {:.2} times as many as one thread ({one:.0}); the rule in Rust, which \
             shares nothing, {:.2} times",
            two / one,
            native_two / native_one
        )
    }
}

pub(crate) fn one_and_two(sandbox: &Sandbox, rule: &Rule) -> anyhow::Result<Scaling> {
    let runtimes: Vec<_> = (0..2)
        .map(|_| tokio::runtime::Builder::new_current_thread().enable_time().build())
        .collect::<Result<_, _>>()?;
    let sandboxed = |thread: usize| {
        runtimes[thread].block_on(async {
            let call = sandbox
                .evaluate(&rule.plugin, &rule.context, &rule.binding.state, &rule.facts)
                .await;
            assert_eq!(call.outcome.as_ref(), Ok(&rule.decision));
        });
    };
    let native = |_: usize| {
        std::hint::black_box(rules::login_streak(
            std::hint::black_box(DAYS),
            &rule.context,
            &rule.facts,
        ));
    };
    let mut best = Scaling {
        sandbox: [0.0; 2],
        native: [0.0; 2],
    };
    for _ in 0..ROUNDS {
        for threads in [1, 2] {
            let best_of = |best: &mut [f64; 2], rate: f64| best[threads - 1] = best[threads - 1].max(rate);
            best_of(&mut best.sandbox, rate(threads, &sandboxed));
            best_of(&mut best.native, rate(threads, &native));
        }
    }
    Ok(best)
}

/// Calls per second of all threads together.
fn rate(threads: usize, call: &(impl Fn(usize) + Sync)) -> f64 {
    let (stop, calls) = (&AtomicBool::new(false), &AtomicU64::new(0));
    let started = Instant::now();
    thread::scope(|scope| {
        for number in 0..threads {
            scope.spawn(move || {
                let mut own = 0;
                while !stop.load(Ordering::Relaxed) {
                    call(number);
                    own += 1;
                }
                calls.fetch_add(own, Ordering::Relaxed);
            });
        }
        thread::sleep(TURN);
        stop.store(true, Ordering::Relaxed);
    });
    #[expect(clippy::cast_precision_loss, reason = "a few million at most")]
    let calls = calls.load(Ordering::Relaxed) as f64;
    calls / started.elapsed().as_secs_f64()
}
