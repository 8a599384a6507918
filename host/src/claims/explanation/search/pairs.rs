//! Two facts that change together, if none suffices alone.

use super::bracket::{Bracket, Change, Found, with};
use crate::claims::explanation::runs::Runs;
use crate::claims::explanation::ways::{Steps, Way};
use crate::contract::Fact;

/// A change that is large enough to find out whether a pair has any effect.
struct Pole<'a> {
    change: Change,
    steps: Option<(&'a Steps, u64)>,
}

fn poles(way: &Way) -> Vec<Pole<'_>> {
    match way {
        Way::Steps(steps) => {
            let far = [steps.hints.last().copied(), Some(steps.limit)];
            let mut far: Vec<u64> = far.into_iter().flatten().collect();
            far.dedup();
            let pole = |distance| Pole {
                change: Change {
                    index: steps.index,
                    part: Some(steps.part),
                    to: steps.at(distance),
                },
                steps: Some((steps, distance)),
            };
            far.into_iter().map(pole).collect()
        }
        Way::Values { index, values } => {
            let pole = |to: &Fact| Pole {
                change: Change {
                    index: *index,
                    part: None,
                    to: to.clone(),
                },
                steps: None,
            };
            values.iter().take(3).map(pole).collect()
        }
    }
}

/// Two facts that change together. Ends at the first pair, which shows what is missing.
pub(super) async fn search(facts: &[Fact], ways: &[&Way], runs: &mut Runs<'_>, found: &mut Vec<Found>) -> Option<()> {
    let poles: Vec<Pole<'_>> = ways.iter().flat_map(|way| poles(way)).collect();
    for (number, first) in poles.iter().enumerate() {
        for second in &poles[number + 1..] {
            if first.change.index == second.change.index {
                continue;
            }
            let changed = with(
                &with(facts, first.change.index, first.change.to.clone()),
                second.change.index,
                second.change.to.clone(),
            );
            if runs.flips(&changed).await? {
                found.extend(narrow_pair(facts, first, second, runs).await);
                return Some(());
            }
        }
    }
    Some(())
}

/// Each change as small as the other one allows.
async fn narrow_pair(facts: &[Fact], first: &Pole<'_>, second: &Pole<'_>, runs: &mut Runs<'_>) -> Option<Found> {
    let mut changes = [first.change.clone(), second.change.clone()];
    let mut steps_less = [None, None];
    let mut is_minimal = true;
    for (number, pole) in [first, second].into_iter().enumerate() {
        let Some((steps, high)) = pole.steps else { continue };
        let other = &changes[1 - number];
        let facts = with(facts, other.index, other.to.clone());
        let mut bracket = Bracket {
            steps,
            facts,
            low: 0,
            high,
        };
        is_minimal &= bracket.narrow(runs).await.is_some() && bracket.high - bracket.low <= 1;
        changes[number] = bracket.change();
        steps_less[number] = Some(steps.at(bracket.high - 1));
    }
    // One step less of either, with the other one as it is in the end; for a value without steps, as the fact is now.
    for number in [0, 1] {
        let (own, other) = (&changes[number], &changes[1 - number]);
        let less = steps_less[number].clone().unwrap_or_else(|| facts[own.index].clone());
        let changed = with(&with(facts, own.index, less.clone()), other.index, other.to.clone());
        match runs.flips(&changed).await {
            Some(false) => {}
            // The condition is not monotone. If the other change suffices alone, it is the smaller one.
            Some(true) if less == facts[own.index] => {
                let (decision, changes) = (runs.flipped(&changed)?.clone(), vec![other.clone()]);
                return Some(Found {
                    changes,
                    is_minimal: false,
                    decision,
                });
            }
            Some(true) | None => is_minimal = false,
        }
    }
    let both = changes.iter().fold(facts.to_vec(), |facts, change| {
        with(&facts, change.index, change.to.clone())
    });
    let decision = runs.flipped(&both)?.clone();
    Some(Found {
        changes: changes.to_vec(),
        is_minimal,
        decision,
    })
}
