//! The trait that a rule implements. It must not know how a rule is called or tested.

use crate::{Context, Decision, Issue, Params, Plan};

/// A rule: its queries and how it decides.
///
/// All functions are pure: the same arguments give the same result. A panic is a failure of the plugin, never a "no":
/// the claim fails and may be repeated.
pub trait Condition {
    /// The name that operators read, e.g. "Login streak".
    const TITLE: &'static str;
    /// One or two sentences for operators: when is a user eligible?
    const DESCRIPTION: &'static str;
    /// Names of the progress keys for users, e.g. `&[("days", "Days in a row")]`.
    const LABELS: &'static [(&'static str, &'static str)] = &[];
    /// Title, description and labels in other languages.
    const TRANSLATIONS: &'static [Translation] = &[];
    /// The params of the rule. Use `()` for a rule without params.
    type Params: Params;
    /// The queries of the rule and the shape of its facts: see [`Plan`].
    type Plan: Plan;

    /// Constraints that the JSON Schema cannot express, e.g. "exactly one of these two". Called once, when an operator
    /// binds the params to an event; any issue refuses them.
    fn check(params: &Self::Params) -> Vec<Issue> {
        let _ = params;
        Vec::new()
    }

    /// The queries for these params. They depend on the params alone, so the server can read all facts at once before
    /// it runs the rule.
    fn plan(params: &Self::Params) -> Self::Plan;

    /// The decision on one claim.
    fn decide(params: &Self::Params, context: &Context, facts: <Self::Plan as Plan>::Facts) -> Decision;
}

/// The texts of a rule in one language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// BCP 47 tag, e.g. "ko" or "pt-BR".
    pub language: &'static str,
    /// Replaces [`Condition::TITLE`].
    pub title: &'static str,
    /// Replaces [`Condition::DESCRIPTION`].
    pub description: &'static str,
    /// Replaces entries of [`Condition::LABELS`]; a key that is left out keeps the default label.
    pub labels: &'static [(&'static str, &'static str)],
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
