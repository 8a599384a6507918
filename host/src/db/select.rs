//! A `SELECT` whose conditions depend on the filters given.

use super::{Bind, Db, Query, placeholders};

impl Db {
    /// Begins a `SELECT … WHERE …`; conditions follow. Optional filters and lists go through here, so that each set of
    /// filters has its own plan.
    pub fn select(&self, sql: &'static str) -> Select<'_> {
        Select {
            db: self,
            sql: sql.to_owned(),
            binds: Vec::new(),
        }
    }
}

/// A `SELECT` whose conditions depend on the filters given, so that each set of filters has its own plan.
pub struct Select<'a> {
    db: &'a Db,
    sql: String,
    binds: Vec<Box<dyn FnOnce(Query) -> Query + Send>>,
}

impl Select<'_> {
    /// Adds `AND` and the condition when there is a value; `$?` in it is the placeholder of the value.
    #[must_use]
    pub fn and<T: Bind>(mut self, condition: &'static str, value: Option<T>) -> Self {
        if let Some(value) = value {
            self.sql.push_str(" AND ");
            self.push(condition, value);
        }
        self
    }

    /// Adds `AND` and a condition with two values, such as `(at, id) < ($?, $?)`.
    #[must_use]
    pub fn and_pair<A: Bind, B: Bind>(mut self, condition: &'static str, (first, second): (A, B)) -> Self {
        let number = self.binds.len() + 1;
        let condition =
            condition
                .replacen("$?", &format!("${number}"), 1)
                .replacen("$?", &format!("${}", number + 1), 1);
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition);
        self.binds.push(Box::new(move |query| query.bind(first)));
        self.binds.push(Box::new(move |query| query.bind(second)));
        self
    }

    /// Adds `AND` and a condition such as `id IN ($?)`; `$?` is the placeholder of the whole list.
    #[must_use]
    pub fn and_in<T: Bind + Clone>(mut self, condition: &'static str, items: impl IntoIterator<Item = T>) -> Self {
        let items = placeholders::padded(items);
        if items.is_empty() {
            self.sql.push_str(" AND FALSE");
            return self;
        }
        let list = placeholders::list(self.binds.len() + 1, items.len());
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition.replace("$?", &list));
        for item in items {
            self.binds.push(Box::new(move |query| query.bind(item)));
        }
        self
    }

    /// Ends the statement, for example with `ORDER BY id DESC LIMIT $?`.
    #[must_use]
    pub fn end<T: Bind>(mut self, clause: &'static str, value: T) -> Query {
        self.sql.push(' ');
        self.push(clause, value);
        self.query()
    }

    /// Ends the statement with a clause without a value.
    #[must_use]
    pub fn ordered(mut self, clause: &'static str) -> Query {
        self.sql.push(' ');
        self.sql.push_str(clause);
        self.query()
    }

    /// Ends the statement as one range per condition, merged: the newest `limit` rows by id of all ranges together. Each
    /// condition fixes the columns before `id` in an index, so that a range reads no more than `limit` rows. The conditions
    /// exclude each other. `around` is the text before and after the merged ranges; `$?` in it is the placeholder of `limit`.
    #[must_use]
    pub fn newest_of(mut self, conditions: &[&'static str], around: (&'static str, &'static str), limit: i64) -> Query {
        self.binds.push(Box::new(move |query| query.bind(limit)));
        let limit = format!("${}", self.binds.len());
        let range = |condition: &&str| {
            let sql = &self.sql;
            format!("SELECT * FROM ({sql} AND {condition} ORDER BY id DESC LIMIT {limit}) AS newest")
        };
        let ranges: Vec<String> = conditions.iter().map(range).collect();
        self.sql = format!(
            "{}{}{}",
            around.0,
            ranges.join(" UNION ALL "),
            around.1.replace("$?", &limit)
        );
        self.query()
    }

    /// The statement without a further clause.
    #[must_use]
    pub fn query(self) -> Query {
        let query = self.db.query_assembled(self.sql);
        self.binds.into_iter().fold(query, |query, bind| bind(query))
    }

    fn push<T: Bind>(&mut self, piece: &'static str, value: T) {
        self.binds.push(Box::new(move |query| query.bind(value)));
        self.sql
            .push_str(&piece.replace("$?", &format!("${}", self.binds.len())));
    }
}
