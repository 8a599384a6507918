//! Repeatable randomness, and the size of a run.

/// The first seed of a test: `SEED`, or a random one.
pub fn first() -> u64 {
    match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number of at most 64 bits"),
        Err(_) => fastrand::u64(..),
    }
}

/// `long` if `MEED_TEST_LONG` is 1.
pub fn size<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}

pub fn is_long() -> bool {
    std::env::var("MEED_TEST_LONG").is_ok_and(|long| long == "1")
}
