//! Retries after transient failures, with full jitter, so that callers that collided do not collide again.
//!
//! Must not know: the operation.

use std::time::Duration;

use crate::clock::Clock;

/// How often a database transaction is retried after a conflict or a lost connection, unless its caller sets another
/// number. The retries and their pauses take about half a second.
pub const RETRIES: u32 = 6;

const FIRST_CEILING_MS: u64 = 5;
const LAST_CEILING_MS: u64 = 200;

/// A pause before the next attempt: random, below a ceiling that doubles from 5 ms to 200 ms. `attempt` counts from 0.
pub async fn pause(clock: &Clock, attempt: u32) {
    tokio::time::sleep(full_jitter(clock, attempt)).await;
}

/// Runs `operation`, and retries it up to `retries` times while it fails with an error that `is_transient`.
pub async fn retry<T, E, F>(
    clock: &Clock,
    retries: u32,
    is_transient: impl Fn(&E) -> bool,
    mut operation: impl FnMut() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut attempt = 0;
    loop {
        match operation().await {
            Err(error) if attempt < retries && is_transient(&error) => {
                attempt += 1;
                pause(clock, attempt).await;
            }
            ended => return ended,
        }
    }
}

fn full_jitter(clock: &Clock, attempt: u32) -> Duration {
    let ceiling = (FIRST_CEILING_MS << attempt.min(6)).min(LAST_CEILING_MS);
    Duration::from_millis(u64::from_le_bytes(clock.random()) % ceiling)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn transient_errors_are_retried_and_others_returned() {
        let calls = Cell::new(0);
        let fail_twice = || {
            calls.set(calls.get() + 1);
            let result = if calls.get() < 3 {
                Err("transient")
            } else {
                Ok(calls.get())
            };
            async move { result }
        };
        let is_transient = |error: &&str| *error == "transient";
        assert_eq!(retry(&Clock::System, 3, is_transient, fail_twice).await, Ok(3));
        calls.set(0);
        let fail = |error: &'static str| {
            let calls = &calls;
            move || {
                calls.set(calls.get() + 1);
                async move { Err::<(), _>(error) }
            }
        };
        assert_eq!(
            retry(&Clock::System, 3, is_transient, fail("transient")).await,
            Err("transient")
        );
        assert_eq!(calls.take(), 4);
        assert_eq!(
            retry(&Clock::System, 3, is_transient, fail("fatal")).await,
            Err("fatal")
        );
        assert_eq!(calls.take(), 1);
    }

    #[test]
    fn pauses_stay_below_200_ms() {
        for attempt in 0..100 {
            assert!(full_jitter(&Clock::System, attempt) < Duration::from_millis(LAST_CEILING_MS));
        }
        assert!(full_jitter(&Clock::System, 0) < Duration::from_millis(FIRST_CEILING_MS));
    }
}
