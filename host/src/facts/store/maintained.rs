//! Fragments over what is maintained: for a user with many activities, they read about as much as for one with few.

use super::{Assembly, Value, granule};
use crate::clock::Timestamp;
use crate::contract::{Selection, Subject};
use crate::db::Engine;
use crate::facts::FactContext;
use crate::facts::words::{Cut, Edge};

/// Distinguishes words from quarter-hours in the rows of a query.
pub(in crate::facts) const WORD: &str = "word";

impl Assembly {
    /// The number or the sum of a window is the difference between what the user had at its two ends. Each end is the last
    /// mark before it, and the activities of the log from there.
    pub(super) fn add_total(
        &mut self,
        context: &FactContext<'_>,
        index: usize,
        series: i64,
        is_sum: bool,
        selection: &Selection,
    ) {
        let from = context
            .zone
            .start_of_window(selection.window, context.event_starts, context.instants.as_of);
        let (column, aggregate) = if is_sum {
            ("m.sum", "COALESCE(SUM(a.amount), 0)")
        } else {
            ("m.n", "COUNT(*)")
        };
        let series = self.bind(Value::Number(series));
        let kind = self.bind(Value::Text(selection.kind.clone()));
        let mut ends = vec![("", "$2".to_owned())];
        if let Some(from) = from.map(Timestamp::as_millis).filter(|from| *from > 0) {
            ends.push(("-", self.bind(Value::Number(from - 1))));
        }
        let (nil, owner) = (self.nil(), owner_of(selection));
        for (sign, end) in ends {
            self.push(&format!(
                " UNION ALL SELECT {index}, {sign}CAST({column} + (SELECT {aggregate} FROM activities a \
                    WHERE {owner} = $1 AND a.kind = {kind} AND (a.occurred_at, a.id) > (m.at, m.id) \
                    AND a.occurred_at <= {end}"
            ));
            self.add_filters(selection);
            self.push(&format!(
                ") AS BIGINT), NULL, NULL FROM (SELECT at, id, n, sum FROM (SELECT at, id, n, sum FROM fact_marks \
                    WHERE user_id = $1 AND series = {series} AND at <= {end} ORDER BY at DESC, id DESC LIMIT 1) AS newest \
                    UNION ALL SELECT -1, {nil}, 0, 0 ORDER BY 1 DESC LIMIT 1) AS m"
            ));
        }
    }

    /// The words of the days that are whole within the window, and quarter-hours of the rest: of its edges, and of what the
    /// words do not contain yet.
    pub(super) fn add_days(&mut self, context: &FactContext<'_>, index: usize, series: i64, selection: &Selection) {
        let cut = Cut::of_window(
            context.zone,
            selection.window,
            context.event_starts,
            context.instants.as_of,
        );
        let (owner, granule) = (owner_of(selection), granule(context, selection));
        let kind = self.bind(Value::Text(selection.kind.clone()));
        for Edge { from, to, is_one_day } in cut.edges {
            let from = self.bind(Value::Number(from.as_millis()));
            let to = self.bind(Value::Number(to.as_millis()));
            self.push(&format!(
                " UNION ALL SELECT {index}, edge.quarter_hour, NULL, NULL FROM ( \
                    SELECT a.occurred_at / {granule} AS quarter_hour FROM activities a \
                    WHERE {owner} = $1 AND a.kind = {kind} AND a.occurred_at BETWEEN {from} AND {to}"
            ));
            self.add_filters(selection);
            let once = if is_one_day {
                " ORDER BY a.occurred_at LIMIT 1".to_owned()
            } else {
                format!(" GROUP BY a.occurred_at / {granule}")
            };
            self.push(&format!("{once}) AS edge"));
        }
        let Some((whole, begin, end)) = cut.whole else {
            return;
        };
        let (low, high) = whole.words();
        self.add_words(index, series, low, high);
        let series = self.bind(Value::Number(series));
        let (begin, end) = (
            self.bind(Value::Number(begin.as_millis())),
            self.bind(Value::Number(end.as_millis())),
        );
        // One bound: of two, SQLite searches for the first and reads everything up to the second.
        let later = match self.engine {
            Engine::Sqlite => "MAX",
            Engine::Postgres => "GREATEST",
        };
        self.push(&format!(
            " UNION ALL SELECT {index}, a.occurred_at / {granule}, NULL, NULL FROM activities a \
                WHERE {owner} = $1 AND a.kind = {kind} AND a.occurred_at BETWEEN {later}({begin}, \
                    COALESCE((SELECT h.through_at FROM fact_heads h WHERE h.user_id = $1 \
                        AND h.kind = {kind} AND h.series = {series}), 0)) AND {end}"
        ));
        self.add_filters(selection);
        self.push(&format!(" GROUP BY a.occurred_at / {granule}"));
    }

    /// The first activity of a series from an instant on. It follows the last mark whose own last activity is before the
    /// instant, and the next mark contains it, so few activities are looked at.
    pub(super) fn add_first_after_marks(&mut self, index: usize, series: i64, from: i64, selection: &Selection) {
        let (nil, owner) = (self.nil(), owner_of(selection));
        let series = self.bind(Value::Number(series));
        let kind = self.bind(Value::Text(selection.kind.clone()));
        let from = self.bind(Value::Number(from));
        // The plus keeps SQLite from beginning at the instant, which may be far before the mark.
        self.push(&format!(
            " UNION ALL SELECT {index}, (SELECT a.occurred_at FROM activities a \
                WHERE {owner} = $1 AND a.kind = {kind} AND (a.occurred_at, a.id) > (m.at, m.id) \
                AND +a.occurred_at >= {from} AND a.occurred_at <= $2"
        ));
        self.add_filters(selection);
        self.push(&format!(
            " ORDER BY a.occurred_at, a.id LIMIT 1), NULL, NULL FROM (SELECT at, id FROM (SELECT at, id FROM fact_marks \
                WHERE user_id = $1 AND series = {series} AND last_at < {from} \
                ORDER BY last_at DESC, at DESC, id DESC LIMIT 1) AS before \
                UNION ALL SELECT -1, {nil} ORDER BY 1 DESC LIMIT 1) AS m"
        ));
    }

    /// The last activity of a series until now, if it is not before an instant: it follows the last mark, or the mark knows it.
    pub(super) fn add_last_after_marks(&mut self, index: usize, series: i64, from: i64, selection: &Selection) {
        let (nil, owner) = (self.nil(), owner_of(selection));
        let series = self.bind(Value::Number(series));
        let kind = self.bind(Value::Text(selection.kind.clone()));
        let from = self.bind(Value::Number(from));
        self.push(&format!(
            " UNION ALL SELECT {index}, edge.at, NULL, NULL FROM (SELECT COALESCE((SELECT a.occurred_at FROM activities a \
                WHERE {owner} = $1 AND a.kind = {kind} AND (a.occurred_at, a.id) > (m.at, m.id) AND a.occurred_at <= $2"
        ));
        self.add_filters(selection);
        self.push(&format!(
            " ORDER BY a.occurred_at DESC, a.id DESC LIMIT 1), m.last_at) AS at \
                FROM (SELECT at, id, last_at FROM (SELECT at, id, last_at FROM fact_marks \
                    WHERE user_id = $1 AND series = {series} AND at <= $2 ORDER BY at DESC, id DESC LIMIT 1) AS newest \
                    UNION ALL SELECT -1, {nil}, -1 ORDER BY 1 DESC LIMIT 1) AS m) AS edge WHERE edge.at >= {from}"
        ));
    }

    /// These words of a series of days.
    pub(super) fn add_words(&mut self, index: usize, series: i64, low: i64, high: i64) {
        let series = self.bind(Value::Number(series));
        let (low, high) = (self.bind(Value::Number(low)), self.bind(Value::Number(high)));
        self.push(&format!(
            " UNION ALL SELECT {index}, d.bits, '{WORD}' || CAST(d.word AS TEXT), NULL FROM fact_days d \
                WHERE d.user_id = $1 AND d.series = {series} AND d.word BETWEEN {low} AND {high}"
        ));
    }

    /// The lowest id.
    fn nil(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite => "zeroblob(16)",
            Engine::Postgres => "CAST('00000000-0000-0000-0000-000000000000' AS UUID)",
        }
    }
}

fn owner_of(selection: &Selection) -> &'static str {
    match selection.subject {
        Subject::Claimant => "a.user_id",
        Subject::Invitees => "a.inviter_id",
    }
}
