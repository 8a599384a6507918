//! A histogram of fuel whose buckets are 1/16 wide, so that its size is bounded and the same runs give the same numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FuelHistogram {
    /// The number of runs by the upper end of their bucket.
    buckets: BTreeMap<u64, u64>,
    runs: u64,
    max: u64,
}

impl FuelHistogram {
    pub fn add(&mut self, fuel: u64) {
        *self.buckets.entry(upper_end(fuel)).or_default() += 1;
        self.runs += 1;
        self.max = self.max.max(fuel);
    }

    pub fn merge(&mut self, other: &Self) {
        for (bucket, runs) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += runs;
        }
        self.runs += other.runs;
        self.max = self.max.max(other.max);
    }

    pub fn runs(&self) -> u64 {
        self.runs
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    /// The fuel that so many of a hundred runs do not exceed, rounded up by at most 1/16.
    pub fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.runs * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().find(|(_, runs)| {
            seen += **runs;
            seen >= rank
        });
        found.map_or(0, |(bucket, _)| (*bucket).min(self.max))
    }
}

fn upper_end(fuel: u64) -> u64 {
    let shift = (u64::BITS - fuel.leading_zeros()).saturating_sub(5);
    let width = 1_u64 << shift;
    fuel.div_ceil(width).saturating_mul(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_at_most_a_sixteenth_too_high() {
        let mut fuel = FuelHistogram::default();
        (1..=1000).for_each(|value| fuel.add(value * 37));
        for percent in [1, 50, 90, 99, 100] {
            let exact = percent * 10 * 37;
            let found = fuel.percentile(percent);
            assert!(
                (exact..=exact + exact / 16 + 1).contains(&found),
                "p{percent}: {found}, not {exact}"
            );
        }
        assert_eq!((fuel.max(), fuel.runs()), (37_000, 1000));
        assert_eq!(FuelHistogram::default().percentile(99), 0);
    }
}
