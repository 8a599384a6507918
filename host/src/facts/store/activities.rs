//! Fragments over `activities`: counts, sums, first and last occurrences, and the quarter-hours from which days are
//! computed.

use super::{Assembly, BOUND, Reading, Value, granule, start};
use crate::contract::{Selection, Subject};
use crate::db::Engine;
use crate::facts::FactContext;
use crate::mutations;

impl Assembly {
    pub(super) fn add_count(&mut self, context: &FactContext<'_>, index: usize, selection: &Selection) {
        let number = match self.outer_condition(selection) {
            None => "COUNT(*)".to_owned(),
            Some(passes) => format!("COALESCE(SUM(CASE WHEN {passes} THEN 1 END), 0)"),
        };
        self.add_aggregate(context, index, &number, selection);
    }

    pub(super) fn add_sum(&mut self, context: &FactContext<'_>, index: usize, selection: &Selection) {
        let amount = match self.outer_condition(selection) {
            None => "a.amount".to_owned(),
            Some(passes) => format!("CASE WHEN {passes} THEN a.amount END"),
        };
        let number = format!("CAST(COALESCE(SUM({amount}), 0) AS BIGINT)");
        self.add_aggregate(context, index, &number, selection);
    }

    /// A quarter-hour without an activity that passes the filters is a row without a number.
    pub(super) fn add_quarter_hours(&mut self, context: &FactContext<'_>, index: usize, selection: &Selection) {
        let quarter_hour = format!("a.occurred_at / {}", granule(context, selection));
        let number = match self.outer_condition(selection) {
            None => quarter_hour.clone(),
            Some(passes) => format!("CASE WHEN MAX(CASE WHEN {passes} THEN 1 ELSE 0 END) = 1 THEN {quarter_hour} END"),
        };
        self.push(&format!(
            " UNION ALL SELECT {index}, {number}, CAST(COUNT(*) AS TEXT), NULL"
        ));
        self.add_bounded_source(context, selection);
        self.push(&format!(" GROUP BY {quarter_hour}"));
    }

    pub(super) fn add_first(&mut self, context: &FactContext<'_>, index: usize, selection: &Selection) {
        self.add_edge(context, index, "ASC", selection);
    }

    pub(super) fn add_last(&mut self, context: &FactContext<'_>, index: usize, selection: &Selection) {
        self.add_edge(context, index, "DESC", selection);
    }

    /// The row also has the number of activities that were read, by which the reader sees that the bound cut some off.
    fn add_aggregate(&mut self, context: &FactContext<'_>, index: usize, number: &str, selection: &Selection) {
        self.push(&format!(
            " UNION ALL SELECT {index}, {number}, CAST(COUNT(*) AS TEXT), NULL"
        ));
        self.add_bounded_source(context, selection);
    }

    fn is_bounded(&self) -> bool {
        self.reading == Reading::Bounded
    }

    /// The filters of a bounded read, which apply to what it has read: activities that do not pass them count for the bound.
    fn outer_condition(&mut self, selection: &Selection) -> Option<String> {
        let has_filters = !selection.filters.is_empty();
        (self.is_bounded() && has_filters).then(|| self.condition(selection))
    }

    /// Of a bounded read, the FROM is cut off after [`BOUND`] activities.
    fn add_bounded_source(&mut self, context: &FactContext<'_>, selection: &Selection) {
        if self.is_bounded() {
            let attributes = if selection.filters.is_empty() {
                ""
            } else {
                ", a.attributes"
            };
            self.push(&format!(" FROM (SELECT a.occurred_at, a.amount{attributes}"));
            self.add_window(context, start(context, selection), selection);
            self.push(&format!(" LIMIT {BOUND}) AS a"));
        } else {
            self.add_source(context, selection);
        }
    }

    /// Uses ORDER BY and LIMIT, because PostgreSQL's generic plans read the whole window for MIN and MAX. With filters, a
    /// bounded read looks at all activities up to its bound.
    fn add_edge(&mut self, context: &FactContext<'_>, index: usize, order: &'static str, selection: &Selection) {
        if let Some(passes) = self.outer_condition(selection) {
            let aggregate = if order == "ASC" { "MIN" } else { "MAX" };
            let number = format!("{aggregate}(CASE WHEN {passes} THEN a.occurred_at END)");
            self.add_aggregate(context, index, &number, selection);
            return;
        }
        self.add_edge_from(context, index, order, start(context, selection), selection);
    }

    /// The first or last activity from this instant on.
    pub(super) fn add_edge_from(
        &mut self,
        context: &FactContext<'_>,
        index: usize,
        order: &'static str,
        from: i64,
        selection: &Selection,
    ) {
        self.push(&format!(
            " UNION ALL SELECT {index}, occurred_at, NULL, NULL FROM (SELECT a.occurred_at"
        ));
        self.add_source_from(context, from, selection);
        self.push(&format!(" ORDER BY a.occurred_at {order} LIMIT 1) AS edge"));
    }

    /// The FROM and WHERE of a selection.
    fn add_source(&mut self, context: &FactContext<'_>, selection: &Selection) {
        self.add_source_from(context, start(context, selection), selection);
    }

    /// The same from this instant on.
    pub(super) fn add_source_from(&mut self, context: &FactContext<'_>, from: i64, selection: &Selection) {
        self.add_window(context, from, selection);
        self.add_filters(selection);
    }

    /// The FROM and WHERE of a selection without its filters, from this instant on.
    fn add_window(&mut self, context: &FactContext<'_>, from: i64, selection: &Selection) {
        let from = self.bind(Value::Number(from));
        let kind = self.bind(Value::Text(selection.kind.clone()));
        let subject = match selection.subject {
            Subject::Claimant => "a.user_id = $1".to_owned(),
            Subject::Invitees if self.reading == Reading::Log => {
                let registered = self.happened_and_known_by(context);
                format!(
                    "a.inviter_id = $1 AND a.user_id IN \
                     (SELECT id FROM users WHERE invited_by = $1 AND created_at <= {registered})"
                )
            }
            Subject::Invitees => "a.inviter_id = $1".to_owned(),
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
    }

    pub(super) fn add_filters(&mut self, selection: &Selection) {
        if !selection.filters.is_empty() {
            let condition = self.condition(selection);
            self.push(" AND ");
            self.push(&condition);
        }
    }

    /// Whether an activity passes all filters.
    fn condition(&mut self, selection: &Selection) -> String {
        let mut conditions = Vec::new();
        for filter in &selection.filters {
            let name = self.bind(Value::Text(filter.attribute.clone()));
            let value = self.bind(Value::Text(filter.equals.clone()));
            conditions.push(match self.engine {
                Engine::Postgres => format!("a.attributes ->> {name} = {value}"),
                // SQLite's ->> interprets names such as $.x, [0] or a"b as paths.
                Engine::Sqlite => format!(
                    "EXISTS (SELECT 1 FROM json_each(a.attributes) AS attribute \
                     WHERE attribute.key = {name} AND attribute.value = {value})"
                ),
            });
        }
        conditions.join(" AND ")
    }
}
