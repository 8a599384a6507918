//! The guard does not fire at tiny samples, fires for planted bugs, and seldom fires for a candidate that is within its bounds,
//! however often it looks. Everything is drawn with seeds, so a run is the same every time.

use fastrand::Rng;
use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

/// What users do, per decision.
#[derive(Clone, Copy)]
struct World {
    stable_failures: f64,
    failures: f64,
    heavy: f64,
    allow_to_deny: f64,
    deny_to_allow: f64,
    grants: f64,
}

/// A candidate that does what the event's condition does.
const QUIET: World = World {
    stable_failures: 0.0,
    failures: 0.0,
    heavy: 0.0,
    allow_to_deny: 0.0,
    deny_to_allow: 0.0,
    grants: 0.3,
};

/// A step that takes in one decision of each arm after the other.
struct Step {
    rng: Rng,
    world: World,
    stable: Totals,
    candidate: Totals,
}

impl Step {
    fn new(seed: u64, world: World) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            world,
            stable: Totals::default(),
            candidate: Totals::default(),
        }
    }

    fn happens(&mut self, probability: f64) -> u64 {
        u64::from(self.rng.f64() < probability)
    }

    fn decide(&mut self, decisions: u64) {
        for _ in 0..decisions {
            let world = self.world;
            self.stable.decisions += 1;
            self.stable.first_decisions += 1;
            let failed = self.happens(world.stable_failures);
            *self.stable.failures.entry("trap".to_owned()).or_default() += failed;
            if self.candidate.decisions < 100 {
                let user = uuid::Uuid::from_u128(self.candidate.decisions.into());
                self.candidate.add_user(user);
            }
            self.candidate.decisions += 1;
            self.candidate.first_decisions += 1;
            self.candidate.compared += 1;
            let failed = self.happens(world.failures);
            *self.candidate.failures.entry("trap".to_owned()).or_default() += failed;
            let heavy = self.happens(world.heavy);
            self.candidate.fuel[if heavy == 1 { FUEL_PARTS - 1 } else { 1 }] += 1;
            let granted = self.happens(world.grants);
            self.candidate.granted += granted;
            self.candidate.value += i64::try_from(granted).unwrap() * 10;
            let draw = self.rng.f64();
            if draw < world.allow_to_deny {
                *self.candidate.divergences.entry(Kind::AllowToDeny).or_default() += 1;
            } else if draw < world.allow_to_deny + world.deny_to_allow {
                *self.candidate.divergences.entry(Kind::DenyToAllow).or_default() += 1;
            }
        }
    }

    fn look(&self, bounds: &Bounds, elapsed: Duration, forecast: Option<Forecast>) -> Verdict {
        judge(&Look {
            bounds,
            stable: &self.stable,
            candidate: &self.candidate,
            permille: 500,
            is_first_canary: true,
            elapsed,
            length: HOUR,
            forecast,
        })
    }

    /// Looks after every ten decisions, and returns after how many the step failed.
    fn fails_within(&mut self, decisions: u64, bounds: &Bounds, forecast: Option<Forecast>) -> Option<(u64, Metric)> {
        for taken in (10..=decisions).step_by(10) {
            self.decide(10);
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let elapsed = HOUR.mul_f64(taken as f64 / decisions as f64 * 0.99);
            if let Verdict::Failed(finding) = self.look(bounds, elapsed, forecast) {
                return Some((taken, finding.metric));
            }
        }
        None
    }
}

/// For 2,000 decisions in an hour, of which the canary is the half.
const FORECAST: Forecast = Forecast {
    grants_per_hour: 1200.0,
    value_per_hour: 12_000.0,
    allow_to_deny: 0.0,
    deny_to_allow: 0.02,
};

proptest! {
    #[test]
    fn nothing_is_judged_before_there_is_a_sample(seed: u64, decisions in 0_u64..200, failures in 0.0..1.0) {
        let world = World { failures, heavy: failures, allow_to_deny: failures, grants: failures, ..QUIET };
        let mut step = Step::new(seed, world);
        step.decide(decisions);
        let bounds = Bounds::default();
        prop_assert_eq!(step.look(&bounds, HOUR / 2, Some(FORECAST)), Verdict::Waiting);
        let is_short = matches!(
            step.look(&bounds, HOUR, Some(FORECAST)),
            Verdict::Inconclusive(finding) if finding.metric == Metric::Sample
        );
        prop_assert!(is_short);
    }

    #[test]
    fn one_user_is_no_sample(seed: u64) {
        let mut step = Step::new(seed, World { failures: 1.0, ..QUIET });
        step.decide(1000);
        step.candidate.forget_users();
        step.candidate.add_user(uuid::Uuid::from_u128(1));
        prop_assert_eq!(step.look(&Bounds::default(), HOUR / 2, None), Verdict::Waiting);
    }

    #[test]
    fn more_failures_are_never_less_evidence(of in 200_u64..5000, some in 0_u64..5000, more in 0_u64..5000) {
        let (some, more) = (some.min(of), more.min(of));
        let (some, more) = (some.min(more), some.max(more));
        let evidence = |count| {
            let excess = rate(count, of) - 0.01;
            if excess > 0.0 { log_ratio(excess, variance(count, of), TAU) } else { f64::NEG_INFINITY }
        };
        // The variance grows with the rate up to a half; beyond, both are overwhelming.
        prop_assert!(evidence(some) <= evidence(more) + 1e-9 || rate(some, of) > 0.3);
    }

    #[test]
    fn the_verdict_is_total(counts in proptest::array::uniform8(0_u64..1 << 40), permille in 0_u16..1000, seconds in 0_u64..1 << 32) {
        let set = |totals: &mut Totals, at: usize| {
            totals.decisions = counts[at];
            totals.first_decisions = counts[at + 1];
            totals.granted = counts[at + 2];
            totals.value = i64::try_from(counts[at + 3]).unwrap();
            totals.compared = counts[at];
        };
        let (mut stable, mut candidate) = (Totals::default(), Totals::default());
        set(&mut stable, 0);
        set(&mut candidate, 4);
        (0..60).for_each(|user| candidate.add_user(uuid::Uuid::from_u128(user)));
        let verdict = judge(&Look {
            bounds: &Bounds::default(),
            stable: &stable,
            candidate: &candidate,
            permille,
            is_first_canary: true,
            elapsed: Duration::from_secs(seconds),
            length: HOUR,
            forecast: Some(FORECAST),
        });
        prop_assert!(seconds >= 3600 || !matches!(verdict, Verdict::Successful));
    }
}

#[test]
fn planted_bugs_fail_their_step_by_their_metric() {
    let bugs = [
        (
            World {
                failures: 0.08,
                ..QUIET
            },
            Metric::Failures,
        ),
        (World { heavy: 0.10, ..QUIET }, Metric::Fuel),
        // Off by one day: one in eight users who should be granted is not.
        (
            World {
                allow_to_deny: 0.12,
                ..QUIET
            },
            Metric::AllowToDeny,
        ),
        // A forgotten cap, a rule that pays twice.
        (
            World {
                deny_to_allow: 0.15,
                ..QUIET
            },
            Metric::DenyToAllow,
        ),
    ];
    for (world, metric) in bugs {
        for seed in 0..50 {
            let failed = Step::new(seed, world).fails_within(2000, &Bounds::default(), Some(FORECAST));
            let (after, by) = failed.unwrap_or_else(|| panic!("{metric}, seed {seed}: not found"));
            assert_eq!(by, metric, "seed {seed}");
            assert!(after >= 200, "seed {seed}");
        }
    }
    // Predicted are 600 grants by the end, and it will be 1,800.
    let world = World { grants: 0.9, ..QUIET };
    for seed in 0..50 {
        let failed = Step::new(seed, world).fails_within(2000, &Bounds::default(), Some(FORECAST));
        let (_, by) = failed.unwrap_or_else(|| panic!("seed {seed}: not found"));
        assert_eq!(by, Metric::Grants, "seed {seed}");
    }
}

/// The share of steps that fail with 180 looks each, of 400.
fn false_alarms(world: World, bounds: Bounds, forecast: Option<Forecast>) -> f64 {
    let failed = (0..400).filter(|seed| {
        let mut step = Step::new(1_000_000 + seed, world);
        step.fails_within(2000, &bounds, forecast).is_some()
    });
    f64::from(u32::try_from(failed.count()).unwrap()) / 400.0
}

#[test]
fn a_candidate_at_its_bound_seldom_fails_however_often_the_guard_looks() {
    let at_bound = |world| false_alarms(world, Bounds::default(), Some(FORECAST));
    for (what, alarms) in [
        ("quiet", at_bound(QUIET)),
        (
            "failures",
            at_bound(World {
                stable_failures: 0.02,
                failures: 0.03,
                ..QUIET
            }),
        ),
        (
            "rare failures",
            at_bound(World {
                failures: 0.01,
                ..QUIET
            }),
        ),
        ("fuel", at_bound(World { heavy: 0.01, ..QUIET })),
        (
            "allow to deny",
            at_bound(World {
                allow_to_deny: 0.02,
                ..QUIET
            }),
        ),
        (
            "deny to allow",
            at_bound(World {
                deny_to_allow: 0.04,
                ..QUIET
            }),
        ),
        ("grants", at_bound(World { grants: 0.45, ..QUIET })),
    ] {
        assert!(alarms <= 0.03, "{what}: {alarms}");
    }
}

#[test]
fn a_step_within_its_bounds_is_successful_when_it_is_over() {
    let mut step = Step::new(
        1,
        World {
            deny_to_allow: 0.01,
            ..QUIET
        },
    );
    step.decide(2000);
    assert_eq!(step.look(&Bounds::default(), HOUR / 2, None), Verdict::Waiting);
    assert_eq!(step.look(&Bounds::default(), HOUR, Some(FORECAST)), Verdict::Successful);
    assert_eq!(step.look(&Bounds::default(), HOUR, None), Verdict::Successful);
}

#[test]
fn an_excess_that_may_be_chance_is_inconclusive() {
    let mut step = Step::new(1, QUIET);
    step.decide(1000);
    step.candidate.failures.insert("trap".to_owned(), 14);
    let verdict = step.look(&Bounds::default(), HOUR, None);
    let Verdict::Inconclusive(finding) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(finding.metric, Metric::Failures);
    assert_eq!(
        finding.to_string(),
        "The candidate fails for 1.4 % of its decisions, and the event's condition for 0.0 %; the bound is 1.0 % more."
    );
}

#[test]
fn a_lack_of_slots_is_no_failure_of_the_candidate() {
    let mut step = Step::new(1, QUIET);
    step.decide(1000);
    step.candidate.failures.insert("overloaded".to_owned(), 500);
    assert_eq!(step.look(&Bounds::default(), HOUR, None), Verdict::Successful);
}

#[test]
fn parts_of_other_sizes_than_planned_say_that_the_counts_are_wrong() {
    let mut step = Step::new(1, QUIET);
    step.decide(2000);
    step.candidate.first_decisions = 1500;
    let verdict = step.look(&Bounds::default(), HOUR / 2, None);
    assert!(matches!(verdict, Verdict::Inconclusive(finding) if finding.metric == Metric::SampleRatio));
    // Honest parts are seldom taken for wrong ones.
    let mut wrong = 0;
    for seed in 0..400 {
        let mut rng = Rng::with_seed(seed);
        let mut step = Step::new(seed, QUIET);
        let is_wrong = (0..100).any(|_| {
            step.decide(20);
            for _ in 0..20 {
                let is_canary = rng.bool();
                step.candidate.first_decisions += u64::from(is_canary);
                step.stable.first_decisions += u64::from(!is_canary);
            }
            // `decide` adds one to each.
            matches!(step.look(&Bounds::default(), HOUR / 2, None), Verdict::Inconclusive(_))
        });
        wrong += u32::from(is_wrong);
    }
    assert!(wrong <= 4, "{wrong} of 400");
}

#[test]
fn claims_that_were_dropped_make_a_step_inconclusive() {
    let mut step = Step::new(1, QUIET);
    step.decide(300);
    step.candidate.dropped = 301;
    let verdict = step.look(&Bounds::default(), HOUR, None);
    assert!(matches!(verdict, Verdict::Inconclusive(finding) if finding.metric == Metric::Sample));
}

#[test]
fn without_a_forecast_and_a_bound_flips_are_only_counted() {
    let mut step = Step::new(
        1,
        World {
            deny_to_allow: 0.5,
            ..QUIET
        },
    );
    step.decide(1000);
    assert_eq!(step.look(&Bounds::default(), HOUR, None), Verdict::Successful);
    let bounds = Bounds {
        deny_to_allow: Some(100),
        ..Bounds::default()
    };
    let verdict = step.look(&bounds, HOUR / 2, None);
    assert!(matches!(verdict, Verdict::Failed(finding) if finding.metric == Metric::DenyToAllow));
}
