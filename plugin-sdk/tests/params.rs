//! What the derive makes of params: their schema, and how they are read and refused.

use meed_plugin_sdk::prelude::*;
use meed_plugin_sdk::testing;
use serde_json::json;
use std::collections::BTreeMap;

/// Collect
/// things.
#[derive(Params)]
#[param(example = {"goal": 3, "mode": "high-score"})]
struct Collection {
    /// How many "things".
    #[param(minimum = 1, maximum = 10, example = 3)]
    goal: u8,
    #[param(minimum = -5, default = -1)]
    least_value: i32,
    #[param(pattern = "^[a-z]+\\d$", min_length = 2, max_length = 8, default = "main1")]
    shop: String,
    mode: Mode,
    #[param(max_items = 2, items(max_length = 3))]
    tags: Option<Vec<String>>,
    #[param(max_properties = 2, keys(max_length = 8), values(minimum = 1))]
    prices: Option<BTreeMap<String, i64>>,
    place: Option<Place>,
    r#type: Option<bool>,
}

#[derive(Params, PartialEq, Debug)]
enum Mode {
    Any,
    HighScore,
}

/// Only the description of a field is in the schema, not the one of its type.
#[derive(Params)]
struct Place {
    floor: i32,
}

/// Notes what it reads.
struct Collector;

impl Condition for Collector {
    const TITLE: &'static str = "Collector";
    const DESCRIPTION: &'static str = "Notes its params.";
    type Params = Collection;
    type Plan = ();

    fn plan(_: &Collection) {}

    fn decide(params: &Collection, _: &Context, (): ()) -> Decision {
        let Collection {
            goal,
            least_value,
            shop,
            mode,
            tags,
            prices,
            place,
            r#type,
        } = params;
        let floor = place.as_ref().map(|place| place.floor);
        log::note(&format!(
            "{goal} {least_value} {shop} {mode:?} {tags:?} {prices:?} {floor:?} {type:?}"
        ));
        Decision::eligible()
    }
}

fn read(params: &str) -> String {
    let rule = testing::bind::<Collector>(params).expect("the params are valid");
    let _ = rule.decide(testing::context("2026-03-02T09:00[UTC]"), ());
    testing::notes().join("\n")
}

fn fault(params: &str) -> String {
    testing::bind::<Collector>(params)
        .expect_err("the params are not valid")
        .remove(0)
        .path
}

#[test]
fn the_schema_contains_all_declarations() {
    let schema = testing::schema::<Collector>();
    let expected = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": "Collect things.",
        "examples": [{"goal": 3, "mode": "high-score"}],
        "type": "object",
        "properties": {
            "goal": {"type": "integer", "minimum": 1, "maximum": 10, "description": "How many \"things\".", "examples": [3]},
            "leastValue": {"type": "integer", "minimum": -5, "maximum": i32::MAX, "default": -1},
            "shop": {"type": "string", "minLength": 2, "maxLength": 8, "pattern": "^[a-z]+\\d$", "default": "main1"},
            "mode": {"type": "string", "enum": ["any", "high-score"]},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2},
            "prices": {
                "type": "object",
                "propertyNames": {"type": "string", "maxLength": 8},
                "additionalProperties": {"type": "integer", "minimum": 1, "maximum": i64::MAX},
                "maxProperties": 2
            },
            "place": {
                "type": "object",
                "properties": {"floor": {"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX}},
                "required": ["floor"],
                "additionalProperties": false
            },
            "type": {"type": "boolean"}
        },
        "required": ["goal", "mode"],
        "additionalProperties": false
    });
    assert_eq!(schema, expected);
}

#[test]
fn omitted_members_have_their_defaults() {
    assert_eq!(
        read(r#"{"goal": 3, "mode": "any"}"#),
        "3 -1 main1 Any None None None None"
    );
}

#[test]
fn every_member_is_parsed() {
    let params = r#" { "goal":10.0 ,"leastValue":-5, "shop":"b\u0062\u0031", "mode":"high-score", "tags":["a","é\n"],
        "prices":{"y":2,"x":9223372036854775807}, "place":{"floor":-1}, "type":true } "#;
    assert_eq!(
        read(params),
        r#"10 -5 bb1 HighScore Some(["a", "é\n"]) Some({"x": 9223372036854775807, "y": 2}) Some(-1) Some(true)"#
    );
    assert!(read(r#"{"goal": 1, "mode": "any", "tags": [], "prices": {}}"#).contains("Some([]) Some({})"));
}

#[test]
fn issues_have_a_path() {
    assert_eq!(fault(r#"{"goal": 11, "mode": "any"}"#), "/goal");
    assert_eq!(fault(r#"{"goal": 1, "mode": "Any"}"#), "/mode");
    assert_eq!(fault(r#"{"goal": 1, "mode": "any", "tags": ["a", "long"]}"#), "/tags/1");
    assert_eq!(
        fault(r#"{"goal": 1, "mode": "any", "prices": {"a/b": 0}}"#),
        "/prices/a~1b"
    );
    assert_eq!(fault(r#"{"goal": 1, "mode": "any", "place": {}}"#), "/place");
    assert_eq!(fault(r#"{"goal": 1, "mode": "any", "colour": 1}"#), "");
}

#[test]
fn no_params_are_an_empty_object() {
    struct Nothing;

    impl Condition for Nothing {
        const TITLE: &'static str = "";
        const DESCRIPTION: &'static str = "";
        type Params = ();
        type Plan = ();

        fn plan((): &()) {}

        fn decide((): &(), _: &Context, (): ()) -> Decision {
            Decision::eligible()
        }
    }

    assert!(testing::bind::<Nothing>(" { } ").is_ok());
    assert!(testing::bind::<Nothing>(r#"{"a": 1}"#).is_err());
    assert!(testing::bind::<Nothing>("[]").is_err());
}
