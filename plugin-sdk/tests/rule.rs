//! A rule with every kind of fact, on the way that a server takes: describe, bind, evaluate.

use meed_plugin_sdk::bindings::Guest;
use meed_plugin_sdk::bindings::types as wire;
use meed_plugin_sdk::prelude::*;
use meed_plugin_sdk::{__private::Plugin, Date, testing};

struct Everything;

type Queries = (
    Query<i64>,
    Option<Query<i64>>,
    (Query<Streak>, Attribute),
    Vec<Query<Option<Timestamp>>>,
    [Attribute; 2],
    Grants,
);

/// What to ask.
#[derive(Params)]
struct Asked {
    sum: bool,
}

impl Condition for Everything {
    const TITLE: &'static str = "Everything";
    const DESCRIPTION: &'static str = "Asks everything and notes the answers.";
    type Params = Asked;
    type Plan = Queries;

    fn plan(params: &Asked) -> Queries {
        (
            count("a").of_invitees().since(Timestamp::from_millis(7)),
            params
                .sum
                .then(|| sum("b").all_time().filter("x", "1").filter("y", "true")),
            (streak("c").last_days(8), attribute("level")),
            vec![first("d"), last("e").event_period()],
            [attribute("region"), attribute("platform")],
            grants(),
        )
    }

    fn decide(_: &Asked, _: &Context, facts: <Queries as Plan>::Facts) -> Decision {
        log::note(&format!("{facts:?}"));
        Decision::eligible()
    }
}

meed_plugin_sdk::export!(Everything);

fn bind(params: &str) -> wire::Binding {
    Plugin::<Everything>::bind(params.to_owned()).expect("the params are valid")
}

fn context() -> wire::Context {
    wire::Context {
        now: 0,
        local: wire::LocalTime {
            date: wire::Date {
                year: 1970,
                month: 1,
                day: 1,
            },
            weekday: 4,
            hour: 0,
            minute: 0,
            second: 0,
            utc_offset_seconds: 0,
        },
        time_zone: "UTC".to_owned(),
        offsets: vec![wire::ZoneOffset {
            starts: 0,
            utc_offset_seconds: 0,
        }],
        event: wire::EventInfo {
            id: String::new(),
            title: String::new(),
            starts: 0,
            ends: 1,
        },
        user: wire::UserInfo {
            id: String::new(),
            registered: 0,
        },
        rewards: Vec::new(),
        seed: vec![0; 32],
    }
}

fn facts() -> Vec<wire::Fact> {
    let last_day = Some(Date {
        year: 2026,
        month: 3,
        day: 2,
    });
    vec![
        wire::Fact::Integer(1),
        wire::Fact::Integer(2),
        wire::Fact::Days(Streak {
            current: 3,
            longest: 4,
            last_day,
        }),
        wire::Fact::Text("5".to_owned()),
        wire::Fact::At(6),
        wire::Fact::Absent,
        wire::Fact::Absent,
        wire::Fact::Text("ios".to_owned()),
        wire::Fact::Integer(7),
    ]
}

#[test]
fn a_plugin_is_named_after_its_package() {
    let manifest = Plugin::<Everything>::describe();
    assert_eq!(manifest.name, "meed-plugin-sdk");
    assert_eq!(manifest.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest.title, "Everything");
}

#[test]
fn the_plan_becomes_queries_in_the_same_order() {
    let selection = |kind: &str, window| wire::Selection {
        kind: kind.to_owned(),
        subject: wire::Subject::Claimant,
        window,
        filters: Vec::new(),
    };
    let filter = |attribute: &str, equals: &str| wire::Filter {
        attribute: attribute.to_owned(),
        equals: equals.to_owned(),
    };
    let invitees = wire::Selection {
        subject: wire::Subject::Invitees,
        ..selection("a", wire::Window::Since(7))
    };
    let filtered = wire::Selection {
        filters: vec![filter("x", "1"), filter("y", "true")],
        ..selection("b", wire::Window::AllTime)
    };
    let mut expected = vec![
        wire::Query::Count(invitees),
        wire::Query::Sum(filtered),
        wire::Query::Streak(selection("c", wire::Window::LastDays(8))),
        wire::Query::Attribute("level".to_owned()),
        wire::Query::First(selection("d", wire::Window::EventPeriod)),
        wire::Query::Last(selection("e", wire::Window::EventPeriod)),
        wire::Query::Attribute("region".to_owned()),
        wire::Query::Attribute("platform".to_owned()),
        wire::Query::Grants,
    ];
    assert_eq!(bind(r#"{"sum": true}"#).queries, expected);
    expected.remove(1);
    assert_eq!(bind(r#"{"sum": false}"#).queries, expected);
}

#[test]
fn facts_have_the_shape_of_the_plan() {
    let decide = |params, facts| Plugin::<Everything>::evaluate(context(), bind(params).state, facts).unwrap();
    assert!(decide(r#"{"sum": true}"#, facts()).is_eligible());
    let streak = "Streak { current: 3, longest: 4, last-day: Some(Date { year: 2026, month: 3, day: 2 }) }";
    let rest = format!(r#"({streak}, Some("5")), [Some(Timestamp(6)), None], [None, Some("ios")], 7"#);
    assert_eq!(testing::notes(), [format!("(1, Some(2), {rest})")]);

    let mut without_sum = facts();
    without_sum.remove(1);
    assert!(decide(r#"{"sum": false}"#, without_sum).is_eligible());
    assert_eq!(testing::notes(), [format!("(1, None, {rest})")]);
}

#[test]
fn an_invalid_input_is_an_error() {
    let evaluate = |context, state, facts| Plugin::<Everything>::evaluate(context, state, facts);
    let state = || bind(r#"{"sum": true}"#).state;

    let mut swapped = facts();
    swapped.swap(2, 3);
    let (mut missing, mut surplus) = (facts(), facts());
    missing.pop();
    surplus.push(wire::Fact::Absent);
    for facts in [swapped, missing, surplus] {
        assert_eq!(
            evaluate(context(), state(), facts).unwrap_err(),
            "The facts are not the answers to the queries."
        );
    }

    let short_seed = wire::Context {
        seed: vec![0; 31],
        ..context()
    };
    assert_eq!(
        evaluate(short_seed, state(), facts()).unwrap_err(),
        "The seed is not 32 bytes long."
    );
    assert_eq!(
        evaluate(context(), b"{}".to_vec(), facts()).unwrap_err(),
        "The state is not what bind returned."
    );
}

#[test]
#[should_panic(expected = "another shape than the plan")]
fn the_test_kit_refuses_facts_of_another_shape() {
    let rule = testing::bind::<Everything>(r#"{"sum": false}"#).unwrap();
    let streak = (Streak::default(), None);
    let _ = rule.decide(
        testing::context("2026-03-02T09:00[UTC]"),
        (1, Some(2), streak, vec![None, None], [None, None], 0),
    );
}

#[test]
fn a_draw_is_the_seed_modulo_the_bound() {
    let seed = meed_plugin_sdk::Seed(std::array::from_fn(|index| u8::try_from(index).unwrap()));
    // In Python: int.from_bytes(range(32), "big") % bound
    for (bound, number) in [(1, 0), (100, 71), (4_294_967_295, 1_886_945_416)] {
        assert_eq!(seed.below(bound), number);
    }
}

#[test]
fn a_weighted_draw_subtracts_the_weights_in_order() {
    let mut seed = meed_plugin_sdk::Seed([0; 32]);
    let weights = [70, 0, 5, 25];
    for (byte, drawn) in [(0, 0), (69, 0), (70, 2), (74, 2), (75, 3), (99, 3), (100, 0), (255, 0)] {
        seed.0[31] = byte;
        assert_eq!(seed.pick(&weights), Some(drawn), "{byte}");
    }
    assert_eq!(seed.pick(&[]), None);
    assert_eq!(seed.pick(&[0, 0]), None);
    // A sum beyond 32 bits: in Python, int.from_bytes([255] * 32, "big") % (2 * (2**32 - 1)) == 2**32 - 1
    assert_eq!(meed_plugin_sdk::Seed([255; 32]).pick(&[u32::MAX, u32::MAX]), Some(1));
}

#[test]
fn instants_can_be_subtracted() {
    let (earlier, later) = (Timestamp::from_millis(1_000), Timestamp::from_millis(3_500));
    assert_eq!(later.since(earlier).as_millis(), 2_500);
    assert_eq!(earlier.since(later).as_millis(), 0);
}

#[test]
fn a_reward_is_found_by_its_id() {
    let rewards = [testing::reward("gold", 1), testing::reward("silver", 0)];
    let context = Context::from(testing::context("2026-03-02T09:00[UTC]").rewards(rewards));
    assert_eq!(context.reward("silver").map(|reward| reward.max_quantity), Some(0));
    assert!(context.reward("bronze").is_none());
}
