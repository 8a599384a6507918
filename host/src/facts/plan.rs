//! A plan: the queries of a condition with its params, within limits that keep the cost of a claim low. Only this file
//! decides which queries are allowed; the sandbox only limits the bytes that a plugin returns.

use serde::{Deserialize, Serialize};

use crate::attributes::{MAX_NAME_BYTES, MAX_TEXT_CHARS, is_name, is_text};
use crate::contract::{Query, Selection, Window};

pub const MAX_QUERIES: usize = 32;
const MAX_FILTERS: usize = 8;
const MAX_DAYS: u32 = 3660;

/// Validated queries. The result of `bind` becomes a plan before it is stored with an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Query>", into = "Vec<Query>")]
pub struct Plan(Vec<Query>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlan {
    #[error("The plan of the condition has {0} queries; the maximum is {MAX_QUERIES}.")]
    TooManyQueries(usize),
    #[error("Query {query} of the plan is invalid: {message}.")]
    Query { query: usize, message: String },
}

impl Plan {
    pub fn queries(&self) -> &[Query] {
        &self.0
    }
}

impl TryFrom<Vec<Query>> for Plan {
    type Error = InvalidPlan;

    fn try_from(queries: Vec<Query>) -> Result<Self, InvalidPlan> {
        if queries.len() > MAX_QUERIES {
            return Err(InvalidPlan::TooManyQueries(queries.len()));
        }
        for (index, query) in queries.iter().enumerate() {
            check(query).map_err(|message| InvalidPlan::Query { query: index, message })?;
        }
        Ok(Self(queries))
    }
}

impl From<Plan> for Vec<Query> {
    fn from(plan: Plan) -> Self {
        plan.0
    }
}

fn check(query: &Query) -> Result<(), String> {
    match query {
        Query::Count(selection)
        | Query::Sum(selection)
        | Query::DistinctDays(selection)
        | Query::Streak(selection)
        | Query::First(selection)
        | Query::Last(selection) => check_selection(selection),
        Query::Attribute(name) => check_attribute_name(name),
        Query::Grants => Ok(()),
    }
}

fn check_selection(selection: &Selection) -> Result<(), String> {
    if !is_kind(&selection.kind) {
        return Err(format!(
            "the activity kind {:?} is not 1 to {MAX_NAME_BYTES} of A-Z a-z 0-9 . _ -",
            selection.kind
        ));
    }
    if let Window::LastDays(days) = selection.window
        && !(1..=MAX_DAYS).contains(&days)
    {
        return Err(format!("the window is {days} days, but must be 1 to {MAX_DAYS}"));
    }
    if selection.filters.len() > MAX_FILTERS {
        let count = selection.filters.len();
        return Err(format!("it has {count} filters; the maximum is {MAX_FILTERS}"));
    }
    for filter in &selection.filters {
        check_attribute_name(&filter.attribute)?;
        if !is_text(&filter.equals) {
            return Err(format!(
                "the filter on {:?} compares with a text that is longer than {MAX_TEXT_CHARS} characters or contains U+0000",
                filter.attribute
            ));
        }
    }
    Ok(())
}

fn check_attribute_name(name: &str) -> Result<(), String> {
    if is_name(name) {
        return Ok(());
    }
    Err(format!(
        "the attribute name {name:?} is not 1 to {MAX_NAME_BYTES} of A-Z a-z 0-9 . _ -"
    ))
}

/// Whether the text is a valid activity kind. The rule is the same as for attribute names.
pub fn is_kind(text: &str) -> bool {
    is_name(text)
}

#[cfg(test)]
mod tests;
