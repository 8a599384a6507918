//! Fragments for users whose older activities are compacted. What a window needs of them is in the marks at their horizon and at
//! the beginning of the window; the log has the rest.

use super::{Assembly, Value, granule, start};
use crate::contract::{Query, Selection, Subject};
use crate::db::Engine;
use crate::facts::FactContext;
use crate::facts::series::Series;
use crate::facts::words::Whole;

/// Distinguishes the mark at the beginning of a window in the rows of a query. Without this row, there is no answer.
pub(in crate::facts) const START: &str = "start";
/// Distinguishes the mark at the horizon, in a query about days.
pub(in crate::facts) const HORIZON: &str = "horizon";

impl Assembly {
    /// What the reader must know of compacted activities.
    pub(super) fn add_horizons(&mut self, context: &FactContext<'_>, queries: &[Query]) {
        self.push(" UNION ALL SELECT -12, c.until, c.kind, NULL FROM fact_compactions c WHERE c.user_id = $1");
        if context.instants.known_by.is_some() {
            self.push(
                " UNION ALL SELECT -13, c.compacted_at, c.kind, NULL FROM fact_compactions c WHERE c.user_id = $1",
            );
        }
        let about_invitees = queries.iter().filter_map(Query::selection);
        let about_invitees = about_invitees.filter(|selection| selection.subject == Subject::Invitees);
        let mut kinds: Vec<&str> = about_invitees.map(|selection| selection.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        if !kinds.is_empty() {
            let registered = self.happened_and_known_by(context);
            self.push(&format!(
                " UNION ALL SELECT -15, later.created_at, NULL, NULL FROM (SELECT created_at FROM users \
                    WHERE invited_by = $1 AND created_at > {registered} LIMIT 1) AS later"
            ));
        }
        for kind in kinds {
            let kind = self.bind(Value::Text(kind.to_owned()));
            self.push(&format!(
                " UNION ALL SELECT -14, h.invited_until, h.kind, NULL FROM fact_horizons h WHERE h.kind = {kind}"
            ));
        }
    }

    /// The answer to a query whose window begins before the horizon.
    pub(super) fn add_compacted(&mut self, context: &FactContext<'_>, index: usize, horizon: i64, query: &Query) {
        let (Some(series), Some(selection)) = (Series::of(query, context.zone), query.selection()) else {
            return;
        };
        let series = series.id;
        let from = start(context, selection);
        self.add_mark(index, series, from, "m.n", &format!("'{START}'"));
        let knows_all = context.instants.known_by.is_none();
        match query {
            Query::Count(_) | Query::Sum(_) if knows_all => {
                let is_sum = matches!(query, Query::Sum(_));
                self.add_total(context, index, series, is_sum, selection);
            }
            Query::Count(_) | Query::Sum(_) => {
                let is_sum = matches!(query, Query::Sum(_));
                let (column, aggregate) = if is_sum {
                    ("sum", "CAST(COALESCE(SUM(a.amount), 0) AS BIGINT)")
                } else {
                    ("n", "COUNT(*)")
                };
                self.add_mark(index, series, horizon, &format!("m.{column}"), "NULL");
                self.add_mark(index, series, from, &format!("-m.{column}"), "NULL");
                self.push(&format!(" UNION ALL SELECT {index}, {aggregate}, NULL, NULL"));
                self.add_source_from(context, horizon, selection);
            }
            Query::First(_) => {
                self.add_mark(index, series, from, "m.next_at", "NULL");
                if knows_all && !selection.filters.is_empty() {
                    self.add_first_after_marks(index, series, horizon, selection);
                } else {
                    self.add_edge_from(context, index, "ASC", horizon, selection);
                }
            }
            Query::Last(_) if knows_all => self.add_last_after_marks(index, series, from, selection),
            Query::Last(_) => {
                let from = self.bind(Value::Number(from));
                let last_at = format!("CASE WHEN m.last_at >= {from} THEN m.last_at END");
                self.add_mark(index, series, horizon, &last_at, "NULL");
                self.add_edge_from(context, index, "DESC", horizon, selection);
            }
            Query::DistinctDays(_) | Query::Streak(_) if knows_all => self.add_days(context, index, series, selection),
            Query::DistinctDays(_) | Query::Streak(_) => {
                self.add_days_around(context, index, series, horizon, selection);
            }
            Query::Attribute(_) | Query::Grants => {}
        }
    }

    /// The days before the horizon, and from it on those of what was known.
    fn add_days_around(
        &mut self,
        context: &FactContext<'_>,
        index: usize,
        series: i64,
        horizon: i64,
        selection: &Selection,
    ) {
        self.add_mark(index, series, horizon, "m.n", &format!("'{HORIZON}'"));
        if let Some(whole) = Whole::before_horizon(context, selection, horizon) {
            let (low, high) = whole.words();
            self.add_words(index, series, low, high);
        }
        let granule = granule(context, selection);
        self.push(&format!(
            " UNION ALL SELECT {index}, a.occurred_at / {granule}, NULL, NULL"
        ));
        self.add_source_from(context, horizon, selection);
        self.push(&format!(" GROUP BY a.occurred_at / {granule}"));
    }

    /// A column of the mark that is before everything from this instant on.
    fn add_mark(&mut self, index: usize, series: i64, instant: i64, column: &str, text: &str) {
        let highest = match self.engine {
            Engine::Sqlite => "X'ffffffffffffffffffffffffffffffff'",
            Engine::Postgres => "CAST('ffffffff-ffff-ffff-ffff-ffffffffffff' AS UUID)",
        };
        let series = self.bind(Value::Number(series));
        let at = self.bind(Value::Number(instant - 1));
        self.push(&format!(
            " UNION ALL SELECT {index}, {column}, {text}, NULL FROM fact_marks m \
                WHERE m.user_id = $1 AND m.series = {series} AND m.at = {at} AND m.id = {highest}"
        ));
    }
}
