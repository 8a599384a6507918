//! Makes a report of the counts of all shards.

use std::collections::BTreeMap;

use super::document::{
    Concentration, ConditionHeader, Count, DayCount, EventHeader, FlipReport, FlipsReport, Forecast, ForecastStep,
    Fuel, Header, Questions, Report, ReproductionReport, RoundsReport, SideReport,
};
use crate::backtests::engine::{Flip, Pace, Settled, SideTally, Steps, Tally};
use crate::backtests::state::Population;
use crate::backtests::terms::{ConditionTerms, RewardTerms, Terms};
use crate::facts;
use crate::sandbox::CallLimits;

/// The most reasons of a histogram: a condition can invent any number.
const MAX_REASONS: usize = 50;

const CANNOT_TELL: &[&str] = &[
    "Users would have behaved otherwise: a user who is refused may come back, and a better offer brings more users.",
    "Claims that were refused again with the same answer, and old refused claims, are not stored, so they are not asked again.",
    "A user with a claim in the period is asked about at those claims only; a later chance of theirs is not counted.",
    "A user without a claim is assumed to claim as soon as they could, which is the most that the offer can cost.",
    "The event is taken to be active, with its present rewards and limits, during the whole period.",
    "Stock that other events took is gone from the start; disabled accounts count as they are asked about.",
    "Activities of erased users are gone.",
    "An activity counts from the moment it was recorded; a claim that waited in a queue may have seen more.",
];

/// How the rounds ended.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    pub rounds: i64,
    pub is_settled: bool,
    /// The last merge of each side.
    pub settled: [Settled; 2],
}

/// The report of all counts. `limits`: of the plugins of both sides; `has_secret`: draws were those of the event.
pub fn build(
    terms: &Terms,
    tally: &Tally,
    rounds: &Rounds,
    (paces, limits): ([Pace; 2], [&CallLimits; 2]),
    (has_secret, is_scaled): (bool, bool),
) -> Report {
    let side = |side: usize| side_report(&tally.sides[side], &rounds.settled[side], limits[side]);
    let condition = |side: usize, terms: &ConditionTerms| ConditionHeader {
        plugin: terms.plugin.clone(),
        version: terms.version.clone(),
        digest: terms.digest,
        params: terms.params.clone(),
        asked: paces[side],
    };
    let seeds = if has_secret {
        "Claims that were really made repeat their draw. Other draws are computed for backtests only, so that a report reveals no draw to come."
    } else {
        "Computed from the event's id: the event's secret was not at hand."
    };
    Report {
        header: Header {
            event: EventHeader {
                id: terms.event_id,
                revision: terms.event_revision,
                title: terms.title.clone(),
                starts: terms.starts,
                ends: terms.ends,
                time_zone: terms.time_zone.clone(),
                recurrence: terms.recurrence,
                budget: terms.budget,
                group: terms.group.clone(),
                max_quantity: terms.max_quantity,
                rewards: rewards_at_start(terms, tally),
            },
            baseline: condition(0, &terms.baseline),
            candidate: condition(1, &terms.candidate),
            from: terms.from,
            to: terms.to,
            population: terms.population,
            sample: terms.sample,
            limits_scaled: is_scaled,
            as_of: "Each decision sees what happened until its own instant.".to_owned(),
            known_by: "Each decision knows what was recorded until its own instant.".to_owned(),
            seeds: seeds.to_owned(),
            engine: concat!("meed ", env!("CARGO_PKG_VERSION")).to_owned(),
            time_zones: facts::time_zones().to_owned(),
        },
        coverage: tally.coverage.clone(),
        baseline: side(0),
        candidate: side(1),
        flips: FlipsReport {
            gained: flip(&tally.flips.gained),
            lost: flip(&tally.flips.lost),
            changed: flip(&tally.flips.changed),
            moved: flip(&tally.flips.moved),
        },
        forecast: forecast(terms, tally),
        reproduction: ReproductionReport {
            same: tally.reproduction.same,
            different: tally.reproduction.different.values().sum(),
            not_comparable: tally.reproduction.not_comparable,
            kinds: counts(&tally.reproduction.different),
            examples: tally.reproduction.examples.as_slice().to_vec(),
        },
        rounds: RoundsReport {
            rounds: rounds.rounds,
            settled: rounds.is_settled,
            unsettled_grants: if rounds.is_settled {
                [0, 0]
            } else {
                [rounds.settled[0].refused, rounds.settled[1].refused]
            },
        },
        cannot_tell: cannot_tell(terms),
    }
}

/// With the stock at the start of the period.
fn rewards_at_start(terms: &Terms, tally: &Tally) -> Vec<RewardTerms> {
    let taken = |reward: &RewardTerms| tally.taken.get(&reward.id).copied().unwrap_or(0);
    let rewards = terms.rewards.iter().map(|reward| RewardTerms {
        remaining: reward.remaining.map(|remaining| remaining + taken(reward)),
        ..reward.clone()
    });
    rewards.collect()
}

fn cannot_tell(terms: &Terms) -> Vec<String> {
    let mut all: Vec<String> = CANNOT_TELL.iter().map(|&text| text.to_owned()).collect();
    if terms.population == Population::Claimants {
        all.push("Users without a claim in the period were not asked about.".to_owned());
    }
    if terms.sample.is_some() {
        all.push("Only a sample of the users was asked about; stock and budget were scaled to it.".to_owned());
    }
    all
}

fn side_report(tally: &SideTally, settled: &Settled, limits: &CallLimits) -> SideReport {
    let users: u64 = tally.by_grants.values().sum();
    let grants = tally.by_grants.iter().map(|(grants, users)| grants * users).sum();
    let limit = limits.evaluate_fuel;
    let mut cumulative = 0;
    let first_eligible = tally.first_eligible.iter().map(|(day, users)| {
        cumulative += users;
        DayCount {
            day: day.clone(),
            users: *users,
            cumulative,
        }
    });
    SideReport {
        claims: tally.claims,
        silent_users: tally.silent,
        grants,
        value: tally.claims.value.saturating_add(tally.silent.value),
        users,
        exhausted: settled.exhausted.clone(),
        reasons: counts(&tally.reasons),
        first_eligible: first_eligible.collect(),
        concentration: concentration(tally, users),
        fuel: Fuel {
            p50: tally.fuel.percentile(50),
            p99: tally.fuel.percentile(99),
            max: tally.fuel.max(),
            limit,
            max_permille: permille(tally.fuel.max().into(), limit.into()),
        },
        failures: tally.failures.clone(),
        questions: Questions {
            asked: tally.asks,
            equal: tally.equal,
            evaluated: tally.fuel.runs(),
        },
    }
}

fn concentration(tally: &SideTally, users: u64) -> Concentration {
    let top_users = if users == 0 { 0 } else { users.div_ceil(100) };
    let grants = tally
        .by_grants
        .iter()
        .map(|(grants, users)| (i128::from(*grants), *users));
    let values = tally.by_value.iter().map(|(value, users)| (i128::from(*value), *users));
    Concentration {
        top_users,
        top_grants_permille: share_of_top(grants.collect(), top_users),
        top_value_permille: share_of_top(values.collect(), top_users),
        most_grants_of_a_user: tally.by_grants.keys().next_back().copied().unwrap_or(0),
        new_account_grants: tally.new_account_grants,
        invited_users: tally.invited_users,
        invited_grants: tally.invited_grants,
    }
}

/// The share of those with the most, in thousandths. The pairs are amount and users, in ascending order.
fn share_of_top(amounts: Vec<(i128, u64)>, top: u64) -> u64 {
    let total: i128 = amounts.iter().map(|(amount, users)| amount * i128::from(*users)).sum();
    let (mut left, mut share) = (top, 0);
    for (amount, users) in amounts.into_iter().rev() {
        let counted = users.min(left);
        share += amount * i128::from(counted);
        left -= counted;
    }
    permille(share, total)
}

fn permille(part: i128, whole: i128) -> u64 {
    if whole <= 0 {
        return 0;
    }
    u64::try_from(part * 1000 / whole).unwrap_or(0)
}

fn flip(flip: &Flip) -> FlipReport {
    FlipReport {
        users: flip.users,
        grants: flip.grants,
        value: flip.value,
        reasons: counts(&flip.reasons),
        examples: flip.examples.as_slice().to_vec(),
    }
}

/// Most frequent first. The rest is one row, so that nothing is left out in silence.
fn counts(counts: &BTreeMap<String, u64>) -> Vec<Count> {
    let mut all: Vec<Count> = counts
        .iter()
        .map(|(reason, count)| Count {
            reason: reason.clone(),
            count: *count,
        })
        .collect();
    all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reason.cmp(&b.reason)));
    if all.len() > MAX_REASONS {
        let rest = all.split_off(MAX_REASONS);
        all.push(Count {
            reason: format!("{} further reasons", rest.len()),
            count: rest.iter().map(|count| count.count).sum(),
        });
    }
    all
}

fn forecast(terms: &Terms, tally: &Tally) -> Forecast {
    let steps = Steps::of(terms);
    let [baseline, candidate] = &tally.sides;
    let (mut grants, mut value, mut silent_grants, mut silent_value) = (0_u64, 0_i64, 0_u64, 0_i64);
    let of = |index| {
        let step = candidate.steps.get(&index).copied().unwrap_or_default();
        let before = baseline.steps.get(&index).copied().unwrap_or_default();
        grants += step.claimed;
        value = value.saturating_add(step.claimed_value);
        silent_grants += step.silent;
        silent_value = silent_value.saturating_add(step.silent_value);
        ForecastStep {
            from: steps.start(index),
            grants: step.claimed,
            value: step.claimed_value,
            silent_grants: step.silent,
            silent_value: step.silent_value,
            cumulative_grants: grants,
            cumulative_value: value,
            cumulative_silent_grants: silent_grants,
            cumulative_silent_value: silent_value,
            baseline_grants: before.claimed,
            baseline_silent_grants: before.silent,
        }
    };
    Forecast {
        step_seconds: steps.millis / 1000,
        steps: (0..steps.count).map(of).collect(),
    }
}
