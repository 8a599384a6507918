//! The trait a rule implements. It must not know how a rule is called or tested.

use crate::{Context, Decision, Issue, Params, Plan};

/// A rule: what it asks for and how it decides.
///
/// All functions are pure: the same arguments give the same result. A panic is a failure of the plugin, never a "no":
/// the claim fails and may be repeated.
pub trait Condition {
    /// The name that operators read, e.g. "Login streak".
    const TITLE: &'static str;
    /// One or two sentences for operators: when is a user eligible?
    const DESCRIPTION: &'static str;
    /// What an operator fills in. Use `()` when there is nothing to fill in.
    type Params: Params;
    /// Which queries the rule asks, and so which facts it is told: see [`Plan`].
    type Plan: Plan;

    /// What the JSON Schema cannot say about the params, e.g. "exactly one of these two". Called once, when an operator
    /// binds the params to an event; any issue refuses them.
    fn check(params: &Self::Params) -> Vec<Issue> {
        let _ = params;
        Vec::new()
    }

    /// The queries for these params. It sees nothing but the params, so the server can read all facts at once before
    /// it starts the rule.
    fn plan(params: &Self::Params) -> Self::Plan;

    /// The decision on one claim.
    fn decide(params: &Self::Params, context: &Context, facts: <Self::Plan as Plan>::Facts) -> Decision;
}

impl Issue {
    /// An issue at a JSON Pointer, e.g. `Issue::at("/days", "...")`.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}
