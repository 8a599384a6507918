//! One statement that answers a whole plan: a `UNION ALL` of one fragment per query. Claims with plans of one shape that
//! arrive together are answered together.
//!
//! This is the one place that reads other features' tables (`users`, `user_attributes`, `activities`,
//! `reward_requests`, `event_rewards`, `reward_stock`, `event_budgets`), so that a claim pays for one round trip instead of
//! five. It only reads.

use uuid::Uuid;

use super::Asker;
use crate::contract::{Query, Selection, Subject};
use crate::db::{Db, Engine, Result, row};

/// Milliseconds in a quarter of an hour. Days are counted from the distinct quarter-hours in which something happened,
/// which bounds the rows. Since 2012 every offset and every change of clocks in the world falls on a quarter-hour, so
/// that each lies within one day, everywhere; a test looks at every zone.
pub(super) const QUARTER_HOUR: i64 = 900_000;

/// What an answer answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    Query(usize),
    User,
    GrantedEver,
    GrantedPlaces,
    Stock,
    SpentGrants,
    SpentAmount,
}

impl Slot {
    pub(super) fn number(self) -> i64 {
        match self {
            // A plan is far shorter than that.
            Self::Query(index) => i64::try_from(index).unwrap_or(i64::MAX),
            Self::User => -1,
            Self::GrantedEver => -2,
            Self::GrantedPlaces => -3,
            Self::Stock => -4,
            Self::SpentGrants => -5,
            Self::SpentAmount => -6,
        }
    }
}

row! {
    #[derive(Debug)]
    pub(super) struct Answer {
        pub slot: i64,
        pub number: Option<i64>,
        pub text: Option<String>,
        pub id: Option<Uuid>,
    }
}

/// `$1` the user, `$2` now, `$3` the event, `$4` the period.
const ALWAYS: &str = "\
    SELECT CAST(-1 AS BIGINT) AS slot, created_at AS number, \
        CASE WHEN disabled THEN 'disabled' END AS text, CAST(NULL AS UUID) AS id \
        FROM users WHERE id = $1 \
    UNION ALL SELECT -2, COUNT(*), NULL, NULL FROM reward_requests \
        WHERE event_id = $3 AND user_id = $1 AND status = 'GRANTED' AND received_at <= $2 \
    UNION ALL SELECT -3, sequence, NULL, NULL FROM reward_requests \
        WHERE event_id = $3 AND user_id = $1 AND status = 'GRANTED' AND period = $4 \
    UNION ALL SELECT -4, s.remaining, NULL, s.reward_id \
        FROM event_rewards e JOIN reward_stock s ON s.reward_id = e.reward_id WHERE e.event_id = $3";

const CLAIMANT: &str = "a.user_id = $1";
const INVITEES: &str = "a.user_id IN (SELECT id FROM users WHERE invited_by = $1 AND created_at <= $2)";

/// A value to be bound, in the order of the placeholders.
enum Value {
    Number(i64),
    Text(String),
}

/// The statement as it grows. Its text holds constant pieces and numbers of slots and placeholders, nothing else, so
/// plans of one shape share a prepared statement.
struct Assembly {
    engine: Engine,
    sql: String,
    values: Vec<Value>,
}

/// All answers of the plan, in no order.
pub(super) async fn answers(db: &Db, asker: &Asker<'_>, queries: &[Query]) -> Result<Vec<Answer>> {
    let mut assembly = Assembly {
        engine: db.engine(),
        sql: ALWAYS.to_owned(),
        values: Vec::new(),
    };
    if let Some(period) = asker.budget {
        assembly.add_budget(period.key(asker.now, asker.zone));
    }
    for (index, query) in queries.iter().enumerate() {
        assembly.add(asker, index, query);
    }
    let read = db
        .joint(assembly.sql)
        .id(asker.user_id)
        .number(asker.now.as_millis())
        .id(asker.event_id)
        .text(asker.period.key(asker.now, asker.zone));
    let read = assembly.values.into_iter().fold(read, |read, value| match value {
        Value::Number(number) => read.number(number),
        Value::Text(text) => read.text(text),
    });
    read.fetch_all().await
}

impl Assembly {
    fn add(&mut self, asker: &Asker<'_>, index: usize, query: &Query) {
        const COUNT: &str = "COUNT(*)";
        const SUM: &str = "CAST(COALESCE(SUM(a.amount), 0) AS BIGINT)";
        match query {
            Query::Count(selection) => self.add_aggregate(asker, index, COUNT, selection),
            Query::Sum(selection) => self.add_aggregate(asker, index, SUM, selection),
            Query::DistinctDays(selection) | Query::Streak(selection) => {
                self.push(&format!(
                    " UNION ALL SELECT {index}, a.occurred_at / {QUARTER_HOUR}, NULL, NULL"
                ));
                self.restrict(asker, selection);
                self.push(&format!(" GROUP BY a.occurred_at / {QUARTER_HOUR}"));
            }
            Query::First(selection) => self.add_edge(asker, index, "ASC", selection),
            Query::Last(selection) => self.add_edge(asker, index, "DESC", selection),
            Query::Attribute(name) => self.add_attribute(index, name),
            // Answered by a slot that every plan has.
            Query::Grants => {}
        }
    }

    fn add_aggregate(&mut self, asker: &Asker<'_>, index: usize, aggregate: &'static str, selection: &Selection) {
        self.push(&format!(" UNION ALL SELECT {index}, {aggregate}, NULL, NULL"));
        self.restrict(asker, selection);
    }

    /// Not MIN or MAX: PostgreSQL's generic plans read the whole window for those.
    fn add_edge(&mut self, asker: &Asker<'_>, index: usize, order: &'static str, selection: &Selection) {
        self.push(&format!(
            " UNION ALL SELECT {index}, occurred_at, NULL, NULL FROM (SELECT a.occurred_at"
        ));
        self.restrict(asker, selection);
        self.push(&format!(" ORDER BY a.occurred_at {order} LIMIT 1) AS edge"));
    }

    /// From which activities, as the selection says.
    fn restrict(&mut self, asker: &Asker<'_>, selection: &Selection) {
        let from = asker
            .zone
            .start_of_window(selection.window, asker.event_starts, asker.now);
        // Nothing is recorded from before 1970, so the epoch is the beginning of time.
        let from = self.bind(Value::Number(from.map_or(0, crate::clock::Timestamp::as_millis)));
        let kind = self.bind(Value::Text(selection.kind.clone()));
        let whose = match selection.subject {
            Subject::Claimant => CLAIMANT,
            Subject::Invitees => INVITEES,
        };
        self.push(&format!(
            " FROM activities a WHERE {whose} AND a.kind = {kind} AND a.occurred_at BETWEEN {from} AND $2"
        ));
        for filter in &selection.filters {
            let name = self.bind(Value::Text(filter.attribute.clone()));
            let value = self.bind(Value::Text(filter.equals.clone()));
            match self.engine {
                Engine::Postgres => self.push(&format!(" AND a.attributes ->> {name} = {value}")),
                // SQLite's ->> reads names such as $.x, [0] or a"b as paths.
                Engine::Sqlite => self.push(&format!(
                    " AND EXISTS (SELECT 1 FROM json_each(a.attributes) AS attribute \
                     WHERE attribute.key = {name} AND attribute.value = {value})"
                )),
            }
        }
    }

    fn add_budget(&mut self, period: String) {
        let period = self.bind(Value::Text(period));
        self.push(&format!(
            " UNION ALL SELECT -5, grants, NULL, NULL FROM event_budgets WHERE event_id = $3 AND period = {period} \
             UNION ALL SELECT -6, amount, NULL, NULL FROM event_budgets WHERE event_id = $3 AND period = {period}"
        ));
    }

    fn add_attribute(&mut self, index: usize, name: &str) {
        let name = self.bind(Value::Text(name.to_owned()));
        self.push(&format!(
            " UNION ALL SELECT {index}, NULL, value, NULL FROM (SELECT value FROM user_attributes \
             WHERE user_id = $1 AND name = {name} AND set_at <= $2 ORDER BY set_at DESC, id DESC LIMIT 1) AS latest"
        ));
    }

    fn push(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// The placeholder of a value; `$1` to `$4` are taken.
    fn bind(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len() + 4)
    }
}
