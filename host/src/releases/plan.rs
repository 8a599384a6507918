//! How an approved release becomes live: the steps of its ramp, the guard, and when it is activated. Must not know: states.

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::guard::Bounds;
use crate::clock::Timestamp;

/// How an approved release becomes live. Part of what is approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ReleasePlan)]
pub struct Plan {
    /// The steps before it is live; none: it is live at once
    #[garde(length(max = 16), custom(rising), dive)]
    #[serde(default)]
    #[schema(max_items = 16)]
    pub steps: Vec<Step>,
    /// When a step holds the release; null: never, the steps go by time alone
    #[garde(dive)]
    #[serde(default = "guarded")]
    pub guard: Option<Bounds>,
    /// Activate it as soon as it is approved
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = false)]
    pub activate_when_approved: bool,
    /// Activate it at this time, if it is approved by then; otherwise a person must activate it
    #[garde(skip)]
    #[serde(default)]
    pub activate_at: Option<Timestamp>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            guard: guarded(),
            activate_when_approved: false,
            activate_at: None,
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the default of a member that can be null")]
fn guarded() -> Option<Bounds> {
    Some(Bounds::default())
}

/// One step of the ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ReleaseStep)]
pub struct Step {
    /// The share of users for whom the new condition decides, in thousandths; 0: it decides no claims and is only compared
    #[garde(range(max = 999))]
    #[schema(example = 100, maximum = 999)]
    pub permille: u16,
    /// How long the step lasts: a minute to 30 days
    #[garde(range(min = 60, max = 2_592_000))]
    #[schema(example = 3600, minimum = 60, maximum = 2_592_000)]
    pub seconds: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form of a custom rule of garde")]
fn rising(steps: &[Step], (): &()) -> garde::Result {
    match steps.windows(2).find(|pair| pair[1].permille <= pair[0].permille) {
        Some(pair) => Err(garde::Error::new(format!(
            "the share of a step must be above that of the step before; {} follows {}",
            pair[1].permille, pair[0].permille
        ))),
        None => Ok(()),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form of a custom rule of garde")]
pub(super) fn one_of_both(plan: &Plan, (): &()) -> garde::Result {
    if plan.activate_when_approved && plan.activate_at.is_some() {
        return Err(garde::Error::new(
            "activateAt and activateWhenApproved exclude each other; send one of them",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fault(plan: Value) -> Option<String> {
        let plan: Plan = serde_json::from_value(plan).unwrap();
        plan.validate().err().map(|report| report.to_string())
    }

    #[test]
    fn the_shares_of_a_ramp_rise() {
        let step = |permille: u16| json!({"permille": permille, "seconds": 60});
        for good in [json!({}), json!({"steps": [step(0), step(1), step(999)]})] {
            assert_eq!(fault(good.clone()), None, "{good}");
        }
        for bad in [
            json!({"steps": [step(10), step(10)]}),
            json!({"steps": [step(10), step(0)]}),
            json!({"steps": [step(1000)]}),
            json!({"steps": [{"permille": 1, "seconds": 59}]}),
        ] {
            assert!(fault(bad.clone()).is_some(), "{bad}");
        }
        let both = json!({"activateWhenApproved": true, "activateAt": "2026-03-02T00:00:00Z"});
        assert!(one_of_both(&serde_json::from_value(both).unwrap(), &()).is_err());
    }
}
