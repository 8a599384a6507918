//! Have a level, a region, a world type or a platform.
//!
//! The operator's systems set the attributes of a user. Every attribute that the params name must match, and every one
//! that does not match gives a reason of its own.

use meed_plugin_sdk::prelude::*;

/// Required attributes of the user. Give at least one.
#[derive(Params)]
#[param(example = {"minLevel": 10, "region": "KR"})]
struct UserAttributesParams {
    /// The attribute `level` must be a whole number and at least this.
    #[param(minimum = 1, maximum = 1_000_000, example = 10)]
    min_level: Option<i64>,
    /// The attribute `region` must be exactly this.
    #[param(min_length = 1, max_length = 64, example = "KR")]
    region: Option<String>,
    /// The attribute `worldType` must be exactly this.
    #[param(min_length = 1, max_length = 64, example = "seasonal")]
    world_type: Option<String>,
    /// The attribute `platform` must be exactly this.
    #[param(min_length = 1, max_length = 64, example = "ios")]
    platform: Option<String>,
}

/// The requirement on one attribute.
enum Requirement<'a> {
    /// `level` is a whole number and at least this.
    Level(i64),
    /// The attribute is this text.
    Text {
        attribute: &'static str,
        text: &'a str,
        code: &'static str,
        called: &'static str,
    },
}

impl UserAttributesParams {
    fn requirements(&self) -> impl Iterator<Item = Requirement<'_>> {
        let texts = [
            ("region", &self.region, "wrong-region", "region"),
            ("worldType", &self.world_type, "wrong-world-type", "type of world"),
            ("platform", &self.platform, "wrong-platform", "platform"),
        ];
        let texts = texts.into_iter().filter_map(|(attribute, text, code, called)| {
            text.as_deref().map(|text| Requirement::Text {
                attribute,
                text,
                code,
                called,
            })
        });
        self.min_level.map(Requirement::Level).into_iter().chain(texts)
    }
}

struct UserAttributes;

impl Condition for UserAttributes {
    const TITLE: &'static str = "User attributes";
    const DESCRIPTION: &'static str = "The user has a minimum level, a region, a world type or a platform.";
    const LABELS: &'static [(&'static str, &'static str)] = &[("level", "Level")];
    type Params = UserAttributesParams;
    type Plan = Vec<Attribute>;

    fn check(params: &UserAttributesParams) -> Vec<Issue> {
        if params.requirements().next().is_none() {
            return vec![Issue::at(
                "",
                "Give at least one of `minLevel`, `region`, `worldType` and `platform`.",
            )];
        }
        Vec::new()
    }

    fn plan(params: &UserAttributesParams) -> Vec<Attribute> {
        let name = |requirement| match requirement {
            Requirement::Level(_) => "level",
            Requirement::Text { attribute, .. } => attribute,
        };
        params
            .requirements()
            .map(|requirement| attribute(name(requirement)))
            .collect()
    }

    fn decide(params: &UserAttributesParams, _context: &Context, attributes: Vec<Option<String>>) -> Decision {
        let mut decision = Decision::eligible();
        for (requirement, actual) in params.requirements().zip(attributes) {
            decision = match requirement {
                Requirement::Level(minimum) => check_level(decision, actual, minimum),
                Requirement::Text { text, .. } if actual.as_deref() == Some(text) => decision,
                Requirement::Text { text, code, called, .. } => {
                    let decision = decision.refuse(code, format!("Your {called} must be {text}."));
                    decision.arg("required", text)
                }
            };
        }
        decision
    }
}

fn check_level(decision: Decision, level: Option<String>, minimum: i64) -> Decision {
    let Some(text) = level else {
        let message = format!("You need level {minimum}, but your level is not known.");
        return decision.refuse("level-missing", message).arg("required", minimum);
    };
    let Ok(level) = text.parse::<i64>() else {
        // Without the text itself: an attribute may contain characters that a message must not.
        let message = format!("You need level {minimum}, but yours is not a whole number.");
        return decision.refuse("level-not-a-number", message).arg("required", minimum);
    };
    let decision = decision.progress("level", level, minimum);
    if level >= minimum {
        return decision;
    }
    let message = format!("You need level {minimum}, but you are at level {level}.");
    let decision = decision.refuse("level-too-low", message);
    decision.arg("required", minimum).arg("level", level)
}

meed_plugin_sdk::export!(UserAttributes);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing;

    fn decide(params: &str, attributes: &[Option<&str>]) -> Decision {
        let attributes = attributes.iter().map(|text| text.map(str::to_owned)).collect();
        let rule = testing::bind::<UserAttributes>(params).unwrap();
        rule.decide(testing::context("2026-03-02T09:00[Asia/Seoul]"), attributes)
    }

    fn codes(decision: &Decision) -> Vec<&str> {
        decision.reasons.iter().map(|reason| reason.code.as_str()).collect()
    }

    #[test]
    fn a_level_is_a_minimum() {
        let params = r#"{"minLevel": 10}"#;
        assert_eq!(
            decide(params, &[Some("12")]),
            Decision::eligible().progress("level", 10, 10)
        );
        let decision = decide(params, &[Some("7")]);
        assert!(!decision.is_eligible());
        assert_eq!(codes(&decision), ["level-too-low"]);
        assert_eq!((decision.progress[0].current, decision.progress[0].target), (7, 10));
    }

    #[test]
    fn an_invalid_level_is_not_eligible() {
        assert_eq!(codes(&decide(r#"{"minLevel": 1}"#, &[None])), ["level-missing"]);
        assert_eq!(
            codes(&decide(r#"{"minLevel": 1}"#, &[Some("gold")])),
            ["level-not-a-number"]
        );
        assert_eq!(
            codes(&decide(r#"{"minLevel": 1}"#, &[Some("7.5")])),
            ["level-not-a-number"]
        );
    }

    #[test]
    fn the_other_attributes_are_compared_exactly() {
        let params = r#"{"region": "KR", "platform": "ios"}"#;
        assert_eq!(decide(params, &[Some("KR"), Some("ios")]), Decision::eligible());
        assert_eq!(
            codes(&decide(params, &[Some("kr"), None])),
            ["wrong-region", "wrong-platform"]
        );
    }

    #[test]
    fn every_mismatch_is_reported() {
        let decision = decide(
            r#"{"minLevel": 5, "worldType": "seasonal"}"#,
            &[Some("4"), Some("classic")],
        );
        assert!(!decision.is_eligible());
        assert_eq!(codes(&decision), ["level-too-low", "wrong-world-type"]);
        assert_eq!(decision.reasons[1].message, "Your type of world must be seasonal.");
    }

    #[test]
    fn only_needed_attributes_are_queried() {
        let rule = testing::bind::<UserAttributes>(r#"{"platform": "ios"}"#).unwrap();
        assert_eq!(*rule.plan(), vec![attribute("platform")]);
    }

    #[test]
    fn params_name_at_least_one_attribute() {
        assert_eq!(testing::bind::<UserAttributes>("{}").unwrap_err()[0].path, "");
        assert_eq!(
            testing::bind::<UserAttributes>(r#"{"region": ""}"#).unwrap_err()[0].path,
            "/region"
        );
    }
}
