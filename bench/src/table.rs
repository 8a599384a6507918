//! Prints the results.

use std::fmt::Write as _;

use crate::harness::Measured;

/// The rows, with the ratios of their minima to those of two baseline rows.
pub(crate) fn render(rows: &[Measured], native: &str, ours: &str) -> String {
    let minimum = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.min);
    let (native, ours) = (minimum(native), minimum(ours));
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);

    let mut table = format!(
        "{:width$} {:>10} {:>10} {:>10} {:>9} {:>8} {:>7} {:>9} {:>8} {:>7}\n",
        "microseconds", "min", "median", "p99", "x native", "x ours", "allocs", "bytes", "fuel", "KiB"
    );
    for row in rows {
        let ratio = |base: Option<f64>, decimals: usize| {
            base.map_or_else(String::new, |base| format!("{:.decimals$}", row.min / base))
        };
        let _ = writeln!(
            table,
            "{:width$} {:>10.3} {:>10.3} {:>10.3} {:>9} {:>8} {:>7} {:>9} {:>8} {:>7}",
            row.name,
            row.min * 1e6,
            row.median * 1e6,
            row.p99 * 1e6,
            ratio(native, 1),
            ratio(ours, 2),
            row.allocations,
            row.allocated_bytes,
            row.fuel.map_or_else(String::new, |fuel| fuel.to_string()),
            row.memory.map_or_else(String::new, |memory| (memory >> 10).to_string()),
        );
    }
    table
}
