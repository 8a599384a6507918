//! The search for counterfactuals: the smallest changes of facts with which a condition decides otherwise.
//!
//! Every way is tried at hints, and then at growing distances; the first distance that suffices is narrowed. Only if
//! no fact alone changes the outcome, two are changed together. Every change that is reported was run with exactly the
//! facts that it names. It is minimal if one step less was run as well and does not change the outcome: for a monotone
//! condition, no smaller change does. Must not know: words, users, the sandbox.

mod bracket;
mod pairs;

use bracket::{Bracket, with};
pub(super) use bracket::{Change, Found};

use super::runs::Runs;
use super::ways::{Direction, Part, Steps, Way};
use crate::contract::{Fact, Outcome};

/// The most changes that are reported.
pub(super) const MAX_FOUND: usize = 8;

/// Searches until everything was tried or a bound is reached; then `runs` says which.
pub(super) async fn search(facts: &[Fact], ways: &[Way], runs: &mut Runs<'_>) -> Vec<Found> {
    let ways = ordered(ways, runs.base());
    let mut found = Vec::new();
    // Whether a bound was reached does not matter here: what was found until then is true.
    let singles = singles(facts, &ways, runs, &mut found).await;
    if singles.is_some() && found.is_empty() {
        pairs::search(facts, &ways, runs, &mut found).await;
    }
    found.truncate(MAX_FOUND);
    found
}

/// More of a fact leads to a grant more often than less of it does.
fn ordered(ways: &[Way], base: Outcome) -> Vec<&Way> {
    let mut ways: Vec<&Way> = ways.iter().collect();
    ways.sort_by_key(|way| match way {
        Way::Values { .. } => 1,
        Way::Steps(steps) if (steps.direction == Direction::Up) == (base != Outcome::Eligible) => 0,
        Way::Steps(_) => 2,
    });
    ways
}

/// First at hints, which are few, then at growing distances.
async fn singles(facts: &[Fact], ways: &[&Way], runs: &mut Runs<'_>, found: &mut Vec<Found>) -> Option<()> {
    let mut values_found = Vec::new();
    let mut open: Vec<&Steps> = Vec::new();
    let mut bound = Some(());
    for way in ways {
        let tried = match way {
            Way::Values { index, values } => try_values(facts, *index, values, runs, &mut values_found).await,
            Way::Steps(steps) => {
                let tried = try_steps(facts, steps, &steps.hints, runs, found).await;
                open.extend((tried == Some(false)).then_some(steps));
                tried.map(|_| ())
            }
        };
        bound = bound.and(tried);
    }
    for steps in open {
        let growing: Vec<u64> = steps.growing().collect();
        bound = bound.and(try_steps(facts, steps, &growing, runs, found).await.map(|_| ()));
    }
    drop_echoes(found);
    // What is nearest by steps comes before other values.
    found.sort_by_key(|found| found.changes.first().map(|change| change.index));
    found.append(&mut values_found);
    bound
}

async fn try_values(
    facts: &[Fact],
    index: usize,
    values: &[Fact],
    runs: &mut Runs<'_>,
    found: &mut Vec<Found>,
) -> Option<()> {
    for value in values {
        let changed = with(facts, index, value.clone());
        if runs.flips(&changed).await? {
            let decision = runs.flipped(&changed)?.clone();
            found.push(Found {
                changes: vec![Change {
                    index,
                    part: None,
                    to: value.clone(),
                }],
                is_minimal: true,
                decision,
            });
            // One example of a value says enough.
            break;
        }
    }
    Some(())
}

/// Whether one of these ascending distances changes the outcome. `None`: a bound is reached.
async fn try_steps(
    facts: &[Fact],
    steps: &Steps,
    distances: &[u64],
    runs: &mut Runs<'_>,
    found: &mut Vec<Found>,
) -> Option<bool> {
    let mut low = 0;
    for &high in distances {
        if !runs.flips(&with(facts, steps.index, steps.at(high))).await? {
            low = high;
            continue;
        }
        let facts = facts.to_vec();
        let mut bracket = Bracket {
            steps,
            facts,
            low,
            high,
        };
        let narrowed = bracket.narrow(runs).await;
        found.extend(bracket.found(runs));
        return narrowed.map(|()| true);
    }
    Some(false)
}

/// A longer current run makes the longest run longer: if that alone suffices, it is the smaller change.
fn drop_echoes(found: &mut Vec<Found>) {
    let longest = |found: &Found| match found.changes.as_slice() {
        [
            Change {
                index,
                part,
                to: Fact::Days(streak),
            },
        ] => Some((*index, *part, streak.longest)),
        _ => None,
    };
    let alone: Vec<(usize, u32)> = found
        .iter()
        .filter_map(longest)
        .filter_map(|(index, part, longest)| (part == Some(Part::LongestDays)).then_some((index, longest)))
        .collect();
    found.retain(|one| {
        longest(one)
            .is_none_or(|(index, part, longest)| part != Some(Part::CurrentDays) || !alone.contains(&(index, longest)))
    });
}

#[cfg(test)]
mod tests;
