//! The search against conditions that are functions: monotone ones, arbitrary ones, and hostile ones.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::hints::Hints;
use super::super::runs::{Bound, MAX_RUNS, Runs};
use super::super::ways::{Way, ways};
use super::*;
use crate::contract::{Awards, Context, Decision, EventInfo, Query, Selection, Streak, Subject, UserInfo, Window};
use crate::facts::Zone;
use crate::sandbox::{Call, Failure};

type Rule<'a> = dyn Fn(&[Fact]) -> bool + Sync + 'a;

fn context() -> Context {
    let zone: Zone = "Asia/Seoul".parse().unwrap();
    let now = "2026-03-15T03:00:00Z".parse().unwrap();
    Context {
        now,
        local: zone.local(now),
        offsets: zone.offsets(now),
        time_zone: zone.name().to_owned(),
        event: EventInfo {
            id: "e".to_owned(),
            title: "An event".to_owned(),
            starts: "2026-03-01T00:00:00Z".parse().unwrap(),
            ends: "2026-04-01T00:00:00Z".parse().unwrap(),
        },
        user: UserInfo {
            id: "u".to_owned(),
            registered: "2026-01-01T00:00:00Z".parse().unwrap(),
        },
        rewards: Vec::new(),
        seed: [0; 32],
    }
}

fn selection(window: Window) -> Selection {
    Selection {
        kind: "shop.purchase".to_owned(),
        subject: Subject::Claimant,
        window,
        filters: Vec::new(),
    }
}

fn count() -> Query {
    Query::Count(selection(Window::AllTime))
}

fn sum() -> Query {
    Query::Sum(selection(Window::AllTime))
}

fn answer(outcome: Outcome) -> Decision {
    Decision {
        outcome,
        reasons: Vec::new(),
        progress: Vec::new(),
        awards: Awards::All,
        retry_at: None,
    }
}

fn call(outcome: Result<Decision, Failure>, fuel: u64, elapsed: Duration) -> Call<Decision> {
    Call {
        outcome,
        fuel,
        memory: 0,
        elapsed,
        notes: Vec::new(),
    }
}

fn outcome(is_eligible: bool) -> Outcome {
    if is_eligible {
        Outcome::Eligible
    } else {
        Outcome::NotEligible
    }
}

/// The result of a search, the number of runs and the bound that ended it.
struct Searched {
    found: Vec<Found>,
    runs: usize,
    stopped_by: Option<Bound>,
}

fn searched_with(
    queries: &[Query],
    facts: &[Fact],
    params: &Value,
    base: Outcome,
    run: impl Fn(&[Fact]) -> Call<Decision> + Send + Sync,
) -> Searched {
    let context = context();
    let hints = Hints::new(params, &json!({}), &[]);
    let ways: Vec<Way> = queries
        .iter()
        .zip(facts)
        .enumerate()
        .flat_map(|(index, (query, fact))| ways(index, query, fact, &context, &hints))
        .collect();
    let run = &run;
    let mut runs = Runs::new(Box::new(move |facts| Box::pin(async move { run(&facts) })), base, 1000);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = runtime.block_on(search(facts, &ways, &mut runs));
    Searched {
        found,
        runs: runs.count(),
        stopped_by: runs.stopped_by,
    }
}

fn searched(queries: &[Query], facts: &[Fact], params: &Value, rule: &Rule<'_>) -> Searched {
    searched_with(queries, facts, params, outcome(rule(facts)), |facts| {
        call(Ok(answer(outcome(rule(facts)))), 1, Duration::ZERO)
    })
}

fn integer(fact: &Fact) -> i64 {
    match fact {
        Fact::Integer(number) => *number,
        Fact::Text(text) => text.parse().unwrap_or(-1),
        Fact::Days(streak) => i64::from(streak.current),
        _ => -1,
    }
}

/// Whether the rule has another answer with these changes.
fn flips(rule: &Rule<'_>, facts: &[Fact], changes: &[Change]) -> bool {
    let changed = changes.iter().fold(facts.to_vec(), |facts, change| {
        with(&facts, change.index, change.to.clone())
    });
    rule(&changed) != rule(facts)
}

fn tos(searched: &Searched) -> Vec<Vec<i64>> {
    let found = searched.found.iter();
    found
        .map(|found| found.changes.iter().map(|change| integer(&change.to)).collect())
        .collect()
}

proptest! {
    /// The threshold is found exactly, with or without a hint, and no smaller change suffices.
    #[test]
    fn a_threshold_is_found_exactly(current in 0_i64..200, threshold in 0_i64..300_000, is_hinted: bool) {
        let rule = move |facts: &[Fact]| integer(&facts[0]) >= threshold;
        let params = if is_hinted { json!({"count": threshold}) } else { json!({}) };
        let facts = [Fact::Integer(current)];
        let searched = searched(&[count()], &facts, &params, &rule);
        let expected = if current >= threshold { threshold - 1 } else { threshold };
        if expected < 0 {
            prop_assert!(searched.found.is_empty());
        } else {
            prop_assert_eq!(tos(&searched), vec![vec![expected]]);
            prop_assert!(searched.found[0].is_minimal);
        }
        prop_assert_eq!(searched.stopped_by, None);
        if is_hinted {
            prop_assert!(searched.runs <= 30, "{} runs", searched.runs);
        }
    }

    /// Two requirements: one change if one is met, two if none is, and each is exact.
    #[test]
    fn two_requirements_need_two_changes(
        (count_now, count_min) in (0_i64..20, 1_i64..20),
        (sum_now, sum_min) in (0_i64..10_000, 1_i64..10_000),
    ) {
        let rule = move |facts: &[Fact]| integer(&facts[0]) >= count_min && integer(&facts[1]) >= sum_min;
        let facts = [Fact::Integer(count_now), Fact::Integer(sum_now)];
        let params = json!({"count": count_min, "sum": sum_min});
        let searched = searched(&[count(), sum()], &facts, &params, &rule);
        prop_assert_eq!(searched.stopped_by, None);
        let expected = match (count_now < count_min, sum_now < sum_min) {
            (true, true) => vec![vec![count_min, sum_min]],
            (true, false) => vec![vec![count_min]],
            (false, true) => vec![vec![sum_min]],
            (false, false) => vec![vec![count_min - 1], vec![sum_min - 1]],
        };
        prop_assert_eq!(tos(&searched), expected);
        prop_assert!(searched.found.iter().all(|found| found.is_minimal));
    }

    /// A condition that answers at random: what is reported is true, and the work is bounded.
    #[test]
    fn what_is_reported_is_true_for_any_condition(seed: u64, facts in prop::collection::vec(0_i64..50, 1..6), one_in in 2_u64..200) {
        let rule = move |facts: &[Fact]| {
            let mut hash = seed;
            for fact in facts {
                hash = (hash ^ integer(fact).unsigned_abs()).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
            }
            hash % one_in == 0
        };
        let queries = vec![count(); facts.len()];
        let facts: Vec<Fact> = facts.into_iter().map(Fact::Integer).collect();
        let searched = searched(&queries, &facts, &json!({"a": 7, "b": 30}), &rule);
        prop_assert!(searched.runs <= MAX_RUNS);
        prop_assert!(searched.found.len() <= MAX_FOUND);
        for found in &searched.found {
            prop_assert!(flips(&rule, &facts, &found.changes));
            // One step less of a minimal change does not suffice.
            for (number, change) in found.changes.iter().enumerate().filter(|_| found.is_minimal) {
                let (from, to) = (integer(&facts[change.index]), integer(&change.to));
                let mut less = found.changes.clone();
                less[number].to = Fact::Integer(to - (to - from).signum());
                prop_assert!(!flips(&rule, &facts, &less), "{:?}", found.changes);
            }
        }
    }

    /// The runs of an expensive condition stay within the bounds, too.
    #[test]
    fn a_slow_or_failing_condition_is_bounded(fuel in 0_u64..2000, millis in 0_u64..400, fails_from in 0_i64..100) {
        let queries = vec![count(); 8];
        let facts = vec![Fact::Integer(3); 8];
        let (mut most_fuel, mut most_time) = (16 * 1000, 2000);
        let searched = searched_with(&queries, &facts, &json!({}), Outcome::NotEligible, |facts| {
            let trap = facts.iter().any(|fact| integer(fact) > fails_from);
            let outcome = if trap { Err(Failure::Trap("unreachable".to_owned())) } else { Ok(answer(Outcome::NotEligible)) };
            call(outcome, fuel, Duration::from_millis(millis))
        });
        let runs = searched.runs as u64;
        prop_assert!(searched.runs <= MAX_RUNS);
        // The last run may exceed a bound by itself, no other one.
        most_fuel += fuel;
        most_time += millis;
        prop_assert!(runs * fuel <= most_fuel && runs * millis <= most_time, "{runs} runs");
        prop_assert!(searched.stopped_by.is_some());
        prop_assert!(searched.found.is_empty());
    }
}

#[test]
fn a_busy_sandbox_ends_the_search() {
    let searched = searched_with(
        &[count()],
        &[Fact::Integer(1)],
        &json!({}),
        Outcome::NotEligible,
        |_| call(Err(Failure::Overloaded), 0, Duration::ZERO),
    );
    assert_eq!((searched.runs, searched.stopped_by), (0, Some(Bound::Busy)));
}

#[test]
fn an_attribute_gets_the_nearest_number_or_a_value_of_the_params() {
    let level = Query::Attribute("level".to_owned());
    let at_least_30 = |facts: &[Fact]| integer(&facts[0]) >= 30;
    for (now, expected) in [
        (Fact::Text("12".to_owned()), "30"),
        (Fact::Text("29".to_owned()), "30"),
        (Fact::Absent, "30"),
        (Fact::Text("XII".to_owned()), "30"),
    ] {
        for params in [json!({"from": 30}), json!({"from": {"level": 30.0}})] {
            let searched = searched(
                std::slice::from_ref(&level),
                std::slice::from_ref(&now),
                &params,
                &at_least_30,
            );
            let to = searched.found.first().map(|found| found.changes[0].to.clone());
            assert_eq!(to, Some(Fact::Text(expected.to_owned())), "{now:?}");
        }
    }
    let is_gold = |facts: &[Fact]| facts[0] == Fact::Text("gold".to_owned());
    let silver = [Fact::Text("silver".to_owned())];
    let tier = [Query::Attribute("tier".to_owned())];
    let found = searched(&tier, &silver, &json!({"tiers": ["gold"]}), &is_gold).found;
    assert_eq!(found[0].changes[0].to, Fact::Text("gold".to_owned()));
    // A value that neither params nor schema contain is not invented.
    assert!(searched(&tier, &silver, &json!({}), &is_gold).found.is_empty());
}

#[test]
fn a_streak_stays_possible_and_days_fit_their_window() {
    let streak = |current, longest, last_day: Option<&str>| {
        Fact::Days(Streak {
            current,
            longest,
            last_day: last_day.map(|day| day.parse().unwrap()),
        })
    };
    let rule = |facts: &[Fact]| integer(&facts[0]) >= 7;
    let eight_days = [Query::Streak(selection(Window::LastDays(8)))];
    let now = [streak(5, 5, Some("2026-03-14"))];
    let found = searched(&eight_days, &now, &json!({"days": 7}), &rule).found;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].changes[0].to, streak(7, 7, Some("2026-03-14")));
    assert!(found[0].is_minimal);
    // Without a run, the new one ends today, in the zone of the event.
    let found = searched(&eight_days, &[streak(0, 2, Some("2026-03-02"))], &json!({}), &rule).found;
    assert_eq!(found[0].changes[0].to, streak(7, 7, Some("2026-03-15")));
    // Seven days are impossible in a window of six.
    let six_days = [Query::Streak(selection(Window::LastDays(6)))];
    assert!(searched(&six_days, &now, &json!({"days": 7}), &rule).found.is_empty());
    // A run that breaks ends before yesterday.
    let kept = [streak(8, 8, Some("2026-03-15"))];
    let none = |facts: &[Fact]| integer(&facts[0]) > 0;
    let found = searched(&eight_days, &kept, &json!({}), &none).found;
    assert_eq!(found[0].changes[0].to, streak(0, 8, Some("2026-03-13")));
    // A condition on the longest run is told by the longest run alone.
    let longest = |facts: &[Fact]| matches!(&facts[0], Fact::Days(streak) if streak.longest >= 6);
    let found = searched(&eight_days, &now, &json!({}), &longest).found;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].changes[0].part, Some(Part::LongestDays));
    assert_eq!(found[0].changes[0].to, streak(5, 6, Some("2026-03-14")));
}

#[test]
fn an_instant_moves_to_the_minute_and_not_into_the_future() {
    let at = |text: &str| Fact::At(text.parse().unwrap());
    let last = [Query::Last(selection(Window::AllTime))];
    // A cooldown of three days.
    let rule = |facts: &[Fact]| match &facts[0] {
        Fact::At(at) => context().now.as_millis() - at.as_millis() >= 3 * 86_400_000,
        _ => true,
    };
    for params in [json!({"days": 3}), json!({})] {
        let found = searched(&last, &[at("2026-03-14T03:00:30Z")], &params, &rule).found;
        let tos: Vec<&Fact> = found.iter().map(|found| &found.changes[0].to).collect();
        assert_eq!(tos, [&at("2026-03-12T02:59:30Z"), &Fact::Absent], "{params}");
        assert!(found[0].is_minimal);
    }
    // Nothing happened yet.
    let is_there = |facts: &[Fact]| facts[0] != Fact::Absent;
    let found = searched(&last, &[Fact::Absent], &json!({}), &is_there).found;
    assert_eq!(found[0].changes[0].to, Fact::At(context().now));
    let later = |facts: &[Fact]| matches!(&facts[0], Fact::At(at) if *at > context().now);
    let found = searched(&last, &[at("2026-03-14T03:00:00Z")], &json!({}), &later).found;
    assert!(found.is_empty());
}

#[test]
fn many_facts_share_the_runs() {
    let queries = vec![count(); 32];
    let facts = vec![Fact::Integer(1); 32];
    // The last fact is the one that is missing, and its threshold is in the params.
    let rule = |facts: &[Fact]| integer(&facts[31]) >= 3;
    let searched = searched(&queries, &facts, &json!({"count": 3}), &rule);
    assert_eq!(searched.stopped_by, Some(Bound::Runs));
    assert_eq!((searched.runs, tos(&searched)), (MAX_RUNS, vec![vec![3]]));
    assert!(searched.found[0].is_minimal);
}
