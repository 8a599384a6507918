//! Prints medians and their ratios to the smallest size.

use std::collections::BTreeMap;
use std::time::Duration;

/// The largest ratio that counts as flat.
const GOAL: f64 = 1.5;

/// Durations by operation, in the order of the sizes.
#[derive(Default)]
pub(crate) struct Report(BTreeMap<String, BTreeMap<usize, Vec<Duration>>>);

impl Report {
    pub(crate) fn add(&mut self, name: &str, size: usize, took: Duration) {
        let sizes = self.0.entry(name.to_owned()).or_default();
        sizes.entry(size).or_default().push(took);
    }

    /// The operations, the worst filter of each list, and every one above the goal.
    pub(crate) fn print(&self, engine: &str, sizes: &[u64]) {
        print!("\n{:64}", format!("{engine}, milliseconds and ratios"));
        for size in sizes {
            print!(" {size:>16}");
        }
        println!();
        let mut worst: BTreeMap<&str, (&str, f64)> = BTreeMap::new();
        for (name, sizes) in &self.0 {
            let list = name.split('?').next().unwrap_or(name);
            let ratio = ratios(sizes).into_iter().fold(0.0, f64::max);
            let entry = worst.entry(list).or_insert((name, ratio));
            if ratio > entry.1 {
                *entry = (name, ratio);
            }
        }
        let mut above = 0;
        for (name, durations) in &self.0 {
            let list = name.split('?').next().unwrap_or(name);
            let is_above = ratios(durations).into_iter().any(|ratio| ratio > GOAL);
            above += usize::from(is_above);
            if !is_above && worst.get(list).is_none_or(|(worst, _)| worst != name) {
                continue;
            }
            print!("{name:64}");
            for (ratio, took) in ratios(durations).into_iter().zip(durations.values()) {
                let mark = if ratio > GOAL { '!' } else { ' ' };
                print!(" {:>9.2} {ratio:>5.2}{mark}", median(took) * 1e3);
            }
            println!();
        }
        println!("{above} of {} operations above {GOAL}", self.0.len());
    }
}

fn ratios(sizes: &BTreeMap<usize, Vec<Duration>>) -> Vec<f64> {
    let smallest = sizes.values().next().map_or(0.0, |took| median(took));
    sizes.values().map(|took| median(took) / smallest).collect()
}

/// In seconds.
fn median(took: &[Duration]) -> f64 {
    let mut took = took.to_vec();
    took.sort_unstable();
    took.get(took.len() / 2).map_or(0.0, Duration::as_secs_f64)
}
