//! Counts by name.

use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Adds the counts of one map to those of another.
pub(super) fn add<K: Ord + Clone, V: AddAssign + Copy + Default>(to: &mut BTreeMap<K, V>, from: &BTreeMap<K, V>) {
    for (key, value) in from {
        *to.entry(key.clone()).or_default() += *value;
    }
}
