//! What is maintained beside the log: which series the queries of a plan need. Computes only.
//!
//! The id of a series is derived from its content, so a reader and a writer agree on it without a look-up. A series of
//! days depends on the rules of its zone: after a change of the zone data another series takes its place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{LazyLock, PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, digest};

use super::{Plan, Zone};
use crate::clock::Timestamp;
use crate::contract::{Filter, Query, Selection, Subject, Window};

/// The activities of one kind that pass the filters: counted and summed or, with a zone, by their days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub id: i64,
    pub kind: String,
    /// Sorted pairs of attribute and value.
    pub filters: Vec<(String, String)>,
    pub zone: Option<String>,
    /// Those of all users whom the owner has invited.
    pub is_of_invitees: bool,
}

/// A series, and which of its windows are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub series: Series,
    /// Where windows begin that do not move; 0: the window of all time.
    pub starts: BTreeSet<i64>,
    /// The longest window that moves, in days; 0: none.
    pub days: i64,
}

impl Series {
    /// The series that answers the query; `None` if none does.
    pub(super) fn of(query: &Query, zone: &Zone) -> Option<Self> {
        match query {
            Query::Count(selection) | Query::Sum(selection) | Query::First(selection) | Query::Last(selection) => {
                Some(Self::new(selection, None))
            }
            Query::DistinctDays(selection) | Query::Streak(selection) => Some(Self::new(selection, Some(zone))),
            Query::Attribute(_) | Query::Grants => None,
        }
    }

    /// What the plan needs of every series, in the order of their ids.
    pub(super) fn of_plan(plan: &Plan, zone: &Zone, event_starts: Timestamp) -> Vec<Need> {
        let mut by_id: BTreeMap<i64, Need> = BTreeMap::new();
        for query in plan.queries() {
            let (Some(series), Some(selection)) = (Self::of(query, zone), query.selection()) else {
                continue;
            };
            let need = by_id.entry(series.id).or_insert_with(|| Need {
                series,
                starts: BTreeSet::new(),
                days: 0,
            });
            match selection.window {
                Window::AllTime => need.starts.insert(0),
                Window::EventPeriod => need.starts.insert(event_starts.as_millis().max(0)),
                Window::Since(instant) => need.starts.insert(instant.as_millis().max(0)),
                Window::LastDays(days) => {
                    need.days = need.days.max(days.into());
                    true
                }
            };
        }
        by_id.into_values().collect()
    }

    fn new(selection: &Selection, zone: Option<&Zone>) -> Self {
        let is_of_invitees = selection.subject == Subject::Invitees;
        let pair = |filter: &Filter| (filter.attribute.clone(), filter.equals.clone());
        let mut filters: Vec<_> = selection.filters.iter().map(pair).collect();
        filters.sort_unstable();
        filters.dedup();
        Self {
            id: id(&selection.kind, &filters, zone, is_of_invitees),
            kind: selection.kind.clone(),
            filters,
            zone: zone.map(|zone| zone.name().to_owned()),
            is_of_invitees,
        }
    }
}

/// The id of the series with this content.
pub(super) fn id(kind: &str, filters: &[(String, String)], zone: Option<&Zone>, is_of_invitees: bool) -> i64 {
    let zone = zone.map(|zone| (zone.name(), rules(zone)));
    let label = if is_of_invitees {
        "meed-series/1 invitees"
    } else {
        "meed-series/1"
    };
    let content = serde_json::json!([label, kind, filters, zone]);
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
