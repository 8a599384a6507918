//! Repeated calls: the host's memory stays constant, and calls end soon after their deadline.

use std::process::Command;
use std::time::{Duration, Instant};

use super::load::{Entry, Fate, class, classes};
use super::{fail, sandbox, sandbox_with};
use crate::guests::Condition;

/// The number of runs of every module, more than a thousand in total. `MEED_TEST_ROUNDS` sets a higher number.
const ROUNDS: usize = 20;
const MOST_GROWTH: i64 = 64 << 20;

/// Resident memory of this process, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> i64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: i64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * i64::try_from(rustix::param::page_size()).unwrap()
}

/// In a separate process, because the memory of this one includes other tests.
#[test]
#[cfg(target_os = "linux")]
fn memory_is_flat_after_a_thousand_runs() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sandbox::hostile::steady::over_and_over",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

/// Repeats every module that is admitted and fails in bind or evaluate; and every module that the
/// sandbox refuses, once.
#[tokio::test]
#[ignore = "is run by memory_is_flat_after_a_thousand_runs"]
#[cfg(target_os = "linux")]
async fn over_and_over() {
    let sandbox = sandbox();
    let mut running = Vec::new();
    let mut refused = Vec::new();
    for hostile in classes().iter().flat_map(|name| class(name)) {
        match (hostile.fate, sandbox.admit(hostile.module.clone()).await) {
            (Fate::Fails { entry, .. }, Ok(admitted)) => running.push((admitted.plugin, entry)),
            _ => refused.push(hostile.module),
        }
    }
    let rounds = std::env::var("MEED_TEST_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    assert!(rounds * running.len() >= 1_000, "{} modules run", running.len());
    let before = resident();
    let started = Instant::now();
    for _ in 0..rounds {
        for (plugin, entry) in &running {
            fail(&sandbox, plugin, *entry).await.unwrap();
        }
    }
    let after_runs = resident();
    for module in refused {
        sandbox.admit(module).await.unwrap_err();
    }
    let after = resident();
    println!(
        "{} calls in {:.1?}: {} KiB before, {:+} KiB after them, {:+} KiB after all uploads again",
        rounds * running.len(),
        started.elapsed(),
        before >> 10,
        (after_runs - before) >> 10,
        (after - before) >> 10
    );
    assert!(after - before <= MOST_GROWTH, "{before} bytes became {after}");
}

/// Without a limit on fuel only the deadline ends these calls; measures the delay.
#[tokio::test]
async fn calls_end_soon_after_their_deadline() {
    const DEADLINE: Duration = Duration::from_millis(50);
    /// On an idle machine the delay is two milliseconds; here all tests run concurrently.
    const MOST_OVERRUN: Duration = Duration::from_secs(2);

    let sandbox = sandbox_with(|settings| {
        settings.standard.call.evaluate_fuel = u64::MAX / 2;
        settings.standard.call.evaluate_deadline_ms = 50;
    });
    let mut measured = Vec::new();
    for hostile in class("cpu") {
        let Fate::Fails {
            code,
            entry: Entry::Evaluate,
        } = &hostile.fate
        else {
            continue;
        };
        if code != "out-of-fuel" {
            continue;
        }
        let admitted = sandbox.admit(hostile.module.clone()).await.unwrap();
        let mut worst = Duration::ZERO;
        for _ in 0..10 {
            let call = super::super::evaluate(&sandbox, &admitted.plugin).await;
            assert_eq!(call.outcome.unwrap_err().code(), "deadline", "{}", hostile.name);
            worst = worst.max(call.elapsed.saturating_sub(DEADLINE));
        }
        println!("{}: at most {worst:.1?} after the deadline", hostile.name);
        measured.push((worst, hostile.name));
    }
    assert!(measured.len() >= 8, "{measured:?}");
    let worst = measured.into_iter().max().unwrap();
    assert!(worst.0 <= MOST_OVERRUN, "{worst:?}");
    sandbox.admit(Condition::default().module()).await.unwrap();
}
