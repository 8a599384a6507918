//! Fragments over `activities`: counts, sums, first and last occurrences, and the quarter-hours from which days are
//! computed.

use super::{Assembly, QUARTER_HOUR, Value};
use crate::clock::Timestamp;
use crate::contract::{Selection, Subject};
use crate::db::Engine;
use crate::facts::FactContext;
use crate::mutations;

const CLAIMANT: &str = "a.user_id = $1";

impl Assembly {
    pub(super) fn add_count(&mut self, context: &FactContext<'_>, index: usize, selection: &Selection) {
        self.add_aggregate(context, index, "COUNT(*)", selection);
    }

    pub(super) fn add_sum(&mut self, context: &FactContext<'_>, index: usize, selection: &Selection) {
        self.add_aggregate(context, index, "CAST(COALESCE(SUM(a.amount), 0) AS BIGINT)", selection);
    }

    pub(super) fn add_quarter_hours(&mut self, context: &FactContext<'_>, index: usize, selection: &Selection) {
        self.push(&format!(
            " UNION ALL SELECT {index}, a.occurred_at / {QUARTER_HOUR}, NULL, NULL"
        ));
        self.add_source(context, selection);
        self.push(&format!(" GROUP BY a.occurred_at / {QUARTER_HOUR}"));
    }

    pub(super) fn add_first(&mut self, context: &FactContext<'_>, index: usize, selection: &Selection) {
        self.add_edge(context, index, "ASC", selection);
    }

    pub(super) fn add_last(&mut self, context: &FactContext<'_>, index: usize, selection: &Selection) {
        self.add_edge(context, index, "DESC", selection);
    }

    fn add_aggregate(
        &mut self,
        context: &FactContext<'_>,
        index: usize,
        aggregate: &'static str,
        selection: &Selection,
    ) {
        self.push(&format!(" UNION ALL SELECT {index}, {aggregate}, NULL, NULL"));
        self.add_source(context, selection);
    }

    /// Uses ORDER BY and LIMIT, because PostgreSQL's generic plans read the whole window for MIN and MAX.
    fn add_edge(&mut self, context: &FactContext<'_>, index: usize, order: &'static str, selection: &Selection) {
        self.push(&format!(
            " UNION ALL SELECT {index}, occurred_at, NULL, NULL FROM (SELECT a.occurred_at"
        ));
        self.add_source(context, selection);
        self.push(&format!(" ORDER BY a.occurred_at {order} LIMIT 1) AS edge"));
    }

    /// The FROM and WHERE of a selection.
    fn add_source(&mut self, context: &FactContext<'_>, selection: &Selection) {
        let from = context
            .zone
            .start_of_window(selection.window, context.event_starts, context.instants.as_of);
        // No activity occurred before 1970, so 0 means no lower bound.
        let from = self.bind(Value::Number(from.map_or(0, Timestamp::as_millis)));
        let kind = self.bind(Value::Text(selection.kind.clone()));
        let subject = match selection.subject {
            Subject::Claimant => CLAIMANT.to_owned(),
            Subject::Invitees => {
                let registered = self.happened_and_known_by(context);
                format!("a.user_id IN (SELECT id FROM users WHERE invited_by = $1 AND created_at <= {registered})")
            }
        };
        self.push(&format!(
            " FROM activities a WHERE {subject} AND a.kind = {kind} AND a.occurred_at BETWEEN {from} AND $2"
        ));
        if let Some(known_by) = context.instants.known_by
            && !mutations::active("known-by-ignored")
        {
            let known_by = self.bind(Value::Number(known_by.as_millis()));
            self.push(&format!(" AND a.recorded_at <= {known_by}"));
        }
        for filter in &selection.filters {
            let name = self.bind(Value::Text(filter.attribute.clone()));
            let value = self.bind(Value::Text(filter.equals.clone()));
            match self.engine {
                Engine::Postgres => self.push(&format!(" AND a.attributes ->> {name} = {value}")),
                // SQLite's ->> interprets names such as $.x, [0] or a"b as paths.
                Engine::Sqlite => self.push(&format!(
                    " AND EXISTS (SELECT 1 FROM json_each(a.attributes) AS attribute \
                     WHERE attribute.key = {name} AND attribute.value = {value})"
                )),
            }
        }
    }
}
