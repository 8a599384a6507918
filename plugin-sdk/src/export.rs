//! Implements the contract's three functions with a [`Condition`], and the macro that exports them.

use crate::bindings::Guest;
use crate::bindings::types as wire;
use crate::{Condition, Context, Decision, Issue, Plan, Translation, params};
use std::marker::PhantomData;

/// Exports a condition as the plugin of this crate. Name and version of the plugin are those of the package.
///
/// ```
/// # use meed_plugin_sdk::prelude::*;
/// struct Everyone;
///
/// impl Condition for Everyone {
///     const TITLE: &'static str = "Everyone";
///     const DESCRIPTION: &'static str = "Every user is eligible.";
///     type Params = ();
///     type Plan = ();
///
///     fn plan((): &()) {}
///
///     fn decide((): &(), _: &Context, (): ()) -> Decision {
///         Decision::eligible()
///     }
/// }
///
/// meed_plugin_sdk::export!(Everyone);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export {
    ($condition:ty) => {
        const _: () = {
            impl $crate::__private::Package for $condition {
                const NAME: &'static str = env!("CARGO_PKG_NAME");
                const VERSION: &'static str = env!("CARGO_PKG_VERSION");
            }

            type Exported = $crate::__private::Plugin<$condition>;
    $crate::bindings::export_world!(Exported with_types_in $crate::bindings);
        };
    };
}

/// The package a condition is exported from.
#[doc(hidden)]
pub trait Package {
    const NAME: &'static str;
    const VERSION: &'static str;
}

/// The exports of a condition.
#[doc(hidden)]
pub struct Plugin<C>(PhantomData<C>);

impl<C: Condition + Package> Guest for Plugin<C> {
    fn describe() -> wire::Manifest {
        wire::Manifest {
            name: C::NAME.to_owned(),
            version: C::VERSION.to_owned(),
            title: C::TITLE.to_owned(),
            description: C::DESCRIPTION.to_owned(),
            labels: labels(C::LABELS),
            translations: C::TRANSLATIONS.iter().map(translation).collect(),
            params_schema: params::schema::<C::Params>(),
        }
    }

    fn bind(params: String) -> Result<wire::Binding, Vec<Issue>> {
        let issue = |issue: Issue| wire::Issue {
            path: issue.path,
            message: issue.message,
        };
        bind::<C>(params).map_err(|issues| issues.into_iter().map(issue).collect())
    }

    fn evaluate(context: wire::Context, state: Vec<u8>, facts: Vec<wire::Fact>) -> Result<Decision, String> {
        evaluate::<C>(context, &state, facts)
    }
}

fn translation(translation: &Translation) -> wire::Translation {
    wire::Translation {
        language: translation.language.to_owned(),
        title: translation.title.to_owned(),
        description: translation.description.to_owned(),
        labels: labels(translation.labels),
    }
}

fn labels(labels: &[(&str, &str)]) -> Vec<wire::Label> {
    let label = |(key, text): &(&str, &str)| wire::Label {
        key: (*key).to_owned(),
        text: (*text).to_owned(),
    };
    labels.iter().map(label).collect()
}

/// The plan of these params. The state is the text of the params: it is short, and parsing it again is fast.
pub(crate) fn bind<C: Condition>(text: String) -> Result<wire::Binding, Vec<Issue>> {
    let params = params::read::<C::Params>(text.as_bytes()).map_err(|issue| vec![issue])?;
    let issues = C::check(&params);
    if !issues.is_empty() {
        return Err(issues);
    }
    let mut queries = Vec::new();
    C::plan(&params).ask(&mut queries);
    Ok(wire::Binding {
        queries,
        state: text.into_bytes(),
    })
}

/// The decision of a condition that was bound to `state`.
pub(crate) fn evaluate<C: Condition>(
    context: wire::Context,
    state: &[u8],
    facts: Vec<wire::Fact>,
) -> Result<Decision, String> {
    let params = params::read::<C::Params>(state).map_err(|_| "The state is not what bind returned.")?;
    let context = Context::try_from(context)?;
    let mut facts = facts.into_iter();
    match C::plan(&params).read(&mut facts) {
        Some(typed) if facts.len() == 0 => Ok(C::decide(&params, &context, typed)),
        _ => Err(String::from("The facts are not the answers to the queries.")),
    }
}
