//! What is maintained beside the log: which series the queries of a plan need. Computes only.
//!
//! The id of a series is derived from its content, so a reader and a writer agree on it without a look-up. A series of
//! days depends on the rules of its zone: after a change of the zone data another series takes its place.

use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, digest};

use super::{Plan, Zone};
use crate::contract::{Filter, Query, Selection, Subject};

/// The activities of one kind that pass the filters: counted and summed or, with a zone, by their days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub id: i64,
    pub kind: String,
    /// Sorted pairs of attribute and value.
    pub filters: Vec<(String, String)>,
    pub zone: Option<String>,
}

impl Series {
    /// The series that answers the query; `None` if none is maintained for it.
    pub(super) fn of(query: &Query, zone: &Zone) -> Option<Self> {
        match query {
            Query::Count(selection) | Query::Sum(selection) => Self::new(selection, None),
            Query::DistinctDays(selection) | Query::Streak(selection) => Self::new(selection, Some(zone)),
            Query::First(_) | Query::Last(_) | Query::Attribute(_) | Query::Grants => None,
        }
    }

    /// Every series of the plan once, in the order of their ids.
    pub(super) fn of_plan(plan: &Plan, zone: &Zone) -> Vec<Self> {
        let all = plan.queries().iter().filter_map(|query| Self::of(query, zone));
        let by_id: BTreeMap<i64, Self> = all.map(|series| (series.id, series)).collect();
        by_id.into_values().collect()
    }

    fn new(selection: &Selection, zone: Option<&Zone>) -> Option<Self> {
        if selection.subject == Subject::Invitees {
            return None;
        }
        let pair = |filter: &Filter| (filter.attribute.clone(), filter.equals.clone());
        let mut filters: Vec<_> = selection.filters.iter().map(pair).collect();
        filters.sort_unstable();
        filters.dedup();
        Some(Self {
            id: id(&selection.kind, &filters, zone),
            kind: selection.kind.clone(),
            filters,
            zone: zone.map(|zone| zone.name().to_owned()),
        })
    }
}

/// The id of the series with this content.
pub(super) fn id(kind: &str, filters: &[(String, String)], zone: Option<&Zone>) -> i64 {
    let zone = zone.map(|zone| (zone.name(), rules(zone)));
    let content = serde_json::json!(["meed-series/1", kind, filters, zone]);
    first_64_bits(content.to_string().as_bytes())
}

/// Whether attributes pass the filters.
pub(super) fn passes(filters: &[(String, String)], attributes: &BTreeMap<String, String>) -> bool {
    filters.iter().all(|(name, value)| attributes.get(name) == Some(value))
}

fn first_64_bits(bytes: &[u8]) -> i64 {
    let digest = digest(&SHA256, bytes);
    let first = digest.as_ref().first_chunk::<8>();
    first.map_or(0, |first| i64::from_be_bytes(*first))
}

/// A digest of all clock changes of a zone from 1970 to 2100. It is computed once per process and zone: names are those of
/// the bundled database, so their number is bounded.
fn rules(zone: &Zone) -> i64 {
    static RULES: LazyLock<RwLock<HashMap<String, i64>>> = LazyLock::new(RwLock::default);
    let known = RULES
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(zone.name())
        .copied();
    if let Some(known) = known {
        return known;
    }
    let mut bytes = Vec::new();
    for (at, offset) in zone.clock_changes() {
        bytes.extend(at.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
    }
    let rules = first_64_bits(&bytes);
    let mut all = RULES.write().unwrap_or_else(PoisonError::into_inner);
    all.insert(zone.name().to_owned(), rules);
    rules
}

#[cfg(test)]
mod tests;
