//! Statements over lists of any length, as both engines take them: `($1, $2), ($3, $4)`.
//!
//! A database prepares each statement text separately. Lists are padded to a power of two with their last item, so that
//! a few texts are enough. This is only for statements to which a repeated item makes no difference: `IN`, `ON CONFLICT
//! DO NOTHING`.

use std::fmt::Write as _;

/// The items, and their last one repeated until there are 1, 2, 4, 8 … of them.
pub fn padded<T: Clone>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    if let Some(last) = items.last().cloned() {
        items.resize(items.len().next_power_of_two(), last);
    }
    items
}

/// Placeholders for a list, numbered from `first`: `$3, $4, $5`.
pub fn list(first: usize, length: usize) -> String {
    let places: Vec<_> = (first..first + length).map(|place| format!("${place}")).collect();
    places.join(", ")
}

/// Placeholders for rows, numbered from `first`: `($1, $2), ($3, $4)`.
pub fn rows(first: usize, rows: usize, width: usize) -> String {
    let mut sql = String::new();
    for row in 0..rows {
        let separator = if row == 0 { "" } else { ", " };
        write!(sql, "{separator}({})", list(first + row * width, width)).ok();
    }
    sql
}

/// Distinct pairs as a table `pair (column1, column2)` to join with, numbered from `first`. An index finds the rows of a
/// join in either engine; SQLite reads a whole table for `(a, b) IN (VALUES …)`.
pub fn pairs(first: usize, length: usize) -> String {
    let values = rows(first, length, 2);
    format!("(SELECT DISTINCT column1, column2 FROM (VALUES {values}) AS given) AS pair")
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists_are_padded_and_numbered() {
        assert_eq!(super::padded([1, 2, 3]), [1, 2, 3, 3]);
        assert!(super::padded(Vec::<u8>::new()).is_empty());
        assert_eq!(super::list(3, 2), "$3, $4");
        assert_eq!(super::rows(1, 2, 2), "($1, $2), ($3, $4)");
    }
}
