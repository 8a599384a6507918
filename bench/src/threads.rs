//! Whether two threads decide twice as much as one: the pool, the allocator and the kernel are shared.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use meed_host::sandbox::Sandbox;

use crate::rules::Rule;

const TURN: Duration = Duration::from_millis(250);
const ROUNDS: usize = 12;

/// Decisions per second of one thread and of two, the best of several turns each.
pub(crate) fn one_and_two(sandbox: &Sandbox, rule: &Rule) -> anyhow::Result<(f64, f64)> {
    let mut best = (0.0_f64, 0.0_f64);
    for _ in 0..ROUNDS {
        best.0 = best.0.max(rate(sandbox, rule, 1)?);
        best.1 = best.1.max(rate(sandbox, rule, 2)?);
    }
    Ok(best)
}

fn rate(sandbox: &Sandbox, rule: &Rule, threads: usize) -> anyhow::Result<f64> {
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let runtimes: Vec<_> = (0..threads)
        .map(|_| tokio::runtime::Builder::new_current_thread().enable_time().build())
        .collect::<Result<_, _>>()?;
    let started = Instant::now();
    thread::scope(|scope| {
        for runtime in &runtimes {
            scope.spawn(|| {
                runtime.block_on(async {
                    let mut own = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let call = sandbox
                            .evaluate(&rule.plugin, &rule.context, &rule.binding.state, &rule.facts)
                            .await;
                        assert_eq!(call.outcome.as_ref(), Ok(&rule.decision));
                        own += 1;
                    }
                    calls.fetch_add(own, Ordering::Relaxed);
                });
            });
        }
        thread::sleep(TURN);
        stop.store(true, Ordering::Relaxed);
    });
    #[expect(clippy::cast_precision_loss, reason = "a few million at most")]
    let calls = calls.into_inner() as f64;
    Ok(calls / started.elapsed().as_secs_f64())
}
