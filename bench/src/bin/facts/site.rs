//! A database, and what fills it.

use std::process::Command;

use anyhow::{Context as _, ensure};
use meed_host::activities::ActivityService;
use meed_host::app;
use meed_host::clock::{Clock, Timestamp};
use meed_host::config::Config;
use meed_host::contract::{Filter, Query, Selection, Subject, Window};
use meed_host::db::{Db, Engine};
use meed_host::facts::{FactBuilder, FactReader, NeededBy, Plan, Zone, need};
use tempfile::TempDir;
use uuid::Uuid;

use crate::text;

pub(crate) const KIND: &str = "shop.purchase";
/// When the first activity of a filled user occurred; they are spread over a year.
pub(crate) const BEGIN: i64 = 1_735_689_600_000;
pub(crate) const YEAR: i64 = 365 * 86_400_000;

pub(crate) struct Site {
    pub engine: String,
    pub db: Db,
    pub clock: Clock,
    pub activities: ActivityService,
    pub facts: FactBuilder,
    pub reader: FactReader,
    _directory: TempDir,
}

impl Site {
    pub(crate) async fn new(engine: &str) -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let url = if engine == "sqlite" {
            format!("sqlite:{}", directory.path().join("facts.db").display())
        } else {
            let server = text("MEED_BENCH_POSTGRES", "");
            let name = format!("facts_{}", std::process::id());
            let program = format!("{}/createdb", text("MEED_BENCH_POSTGRES_PROGRAMS", "/usr/bin"));
            let maintenance = format!("{server}/postgres");
            let created = Command::new(program)
                .args(["--maintenance-db", &maintenance, &name])
                .status();
            ensure!(created.context("createdb")?.success(), "createdb {name} failed");
            format!("{server}/{name}")
        };
        let db = Db::connect(&url, 8).await?;
        db.migrate().await?;
        let clock = Clock::System;
        let config = Config::load(None, None, &[])?;
        Ok(Self {
            engine: engine.to_owned(),
            activities: app::activities(&config, &db, &clock),
            facts: FactBuilder::new(db.clone(), clock.clone()),
            reader: FactReader::new(db.clone()),
            db,
            clock,
            _directory: directory,
        })
    }

    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.db.close().await;
        Ok(())
    }

    /// Runs a statement that has `{rows}` for the numbers from 1 to `count` as `n`, and `{id:x}` for the id with the number x.
    pub(crate) async fn run(&self, sql: &str, count: u64) -> anyhow::Result<()> {
        let mut tx = self.db.begin().await?;
        let rows = match self.db.engine() {
            Engine::Postgres => {
                tx.query("SET LOCAL statement_timeout = 0").execute(&mut tx).await?;
                format!("generate_series(1::BIGINT, {count}) AS s (n)")
            }
            Engine::Sqlite => format!(
                "(WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s) AS s"
            ),
        };
        let mut sql = sql.replace("{rows}", &rows);
        while let Some((before, rest)) = sql.split_once("{id:") {
            let (number, after) = rest.split_once('}').context("a closing brace")?;
            let id = match self.db.engine() {
                Engine::Postgres => {
                    format!("('00000000-0000-7000-8000-' || lpad(to_hex(({number})::BIGINT), 12, '0'))::UUID")
                }
                Engine::Sqlite => format!("unhex(printf('0000000000007000800%013x', {number}))"),
            };
            sql = format!("{before}{id}{after}");
        }
        let query = self.db.query_assembled(sql.clone());
        query.execute(&mut tx).await.context(sql)?;
        tx.commit().await?;
        Ok(())
    }

    /// Users with the numbers from 1 to `count`.
    pub(crate) async fn users(&self, count: u64) -> anyhow::Result<()> {
        let sql = "INSERT INTO users (id, email, password_hash, role, invite_code, disabled, created_at) \
            SELECT {id:n}, 'u' || n || '@facts.example', '', 'USER', 'i' || n, FALSE, 0 FROM {rows} WHERE TRUE";
        self.run(sql, count).await
    }

    /// Activities of one user, spread over the year. A third is about hats, and a fiftieth about each item.
    pub(crate) async fn fill(&self, user: u64, count: u64) -> anyhow::Result<()> {
        let sql = format!(
            "INSERT INTO activities (user_id, source, source_id, id, kind, amount, attributes, occurred_at, recorded_at) \
             SELECT {{id:{user}}}, 'fill', 'a' || n, {{id:n}}, '{KIND}', n % 1000, {attributes}, \
                {BEGIN} + n * {YEAR} / {count}, {BEGIN} + n * {YEAR} / {count} FROM {{rows}} WHERE TRUE",
            attributes = self.attributes()
        );
        self.run(&sql, count).await
    }

    /// Users whom one user has invited, with the numbers from `first`, and activities of each of them.
    pub(crate) async fn fill_invitees(&self, inviter: u64, first: u64, count: u64, each: u64) -> anyhow::Result<()> {
        let users = format!(
            "INSERT INTO users (id, email, password_hash, role, invite_code, invited_by, disabled, created_at) \
             SELECT {{id:({first} + n)}}, 'i' || ({first} + n) || '@facts.example', '', 'USER', 'j' || ({first} + n), \
                {{id:{inviter}}}, FALSE, 0 FROM {{rows}} WHERE TRUE"
        );
        self.run(&users, count).await?;
        let all = count * each;
        let sql = format!(
            "INSERT INTO activities (user_id, source, source_id, id, kind, amount, attributes, occurred_at, recorded_at, \
                inviter_id) \
             SELECT {{id:({first} + 1 + n % {count})}}, 'fill', 'a' || n, {{id:n}}, '{KIND}', n % 1000, {attributes}, \
                {BEGIN} + n * {YEAR} / {all}, {BEGIN} + n * {YEAR} / {all}, {{id:{inviter}}} FROM {{rows}} WHERE TRUE",
            attributes = self.attributes()
        );
        self.run(&sql, all).await
    }

    fn attributes(&self) -> &'static str {
        match self.db.engine() {
            Engine::Postgres => {
                "jsonb_build_object('category', CASE WHEN n % 3 = 0 THEN 'hats' ELSE 'shoes' END, \
                 'item', CAST(n % 50 AS TEXT))"
            }
            Engine::Sqlite => "json_object('category', iif(n % 3 = 0, 'hats', 'shoes'), 'item', CAST(n % 50 AS TEXT))",
        }
    }

    /// Bytes of all tables that hold what is maintained.
    pub(crate) async fn maintained_bytes(&self) -> anyhow::Result<i64> {
        const POSTGRES: &str = "SELECT CAST(SUM(pg_total_relation_size(CAST(name AS REGCLASS))) AS BIGINT) \
            FROM (VALUES ('fact_heads'), ('fact_marks'), ('fact_days')) AS t (name)";
        const SQLITE: &str = "SELECT (SELECT COUNT(*) FROM fact_heads) * 90 + (SELECT COUNT(*) FROM fact_marks) * 70 \
            + (SELECT COUNT(*) FROM fact_days) * 50";
        let sql = match self.db.engine() {
            Engine::Postgres => POSTGRES,
            Engine::Sqlite => SQLITE,
        };
        let (bytes,): (i64,) = self.db.query(sql).fetch_one(&self.db).await?;
        Ok(bytes)
    }

    /// Lets an event need the series of these queries.
    pub(crate) async fn need(&self, queries: Vec<Query>, zone: &Zone) -> anyhow::Result<()> {
        let plan = Plan::try_from(queries)?;
        let mut tx = self.db.begin().await?;
        let until = Timestamp::from_millis(BEGIN + 20 * YEAR).context("an instant")?;
        let by = NeededBy {
            event_id: self.clock.new_id(),
            event_starts: Timestamp::EPOCH,
            until,
            zone,
            now: self.clock.now(),
        };
        need(&mut tx, &by, &plan).await?;
        tx.commit().await?;
        Ok(())
    }
}

pub(crate) fn user(number: u64) -> Uuid {
    Uuid::from_u128(0x7000_8000_0000_0000_0000 | u128::from(number))
}

pub(crate) fn selection(window: Window, subject: Subject, filter: Option<(&str, &str)>) -> Selection {
    let filter = filter.map(|(attribute, equals)| Filter {
        attribute: attribute.to_owned(),
        equals: equals.to_owned(),
    });
    Selection {
        kind: KIND.to_owned(),
        subject,
        window,
        filters: filter.into_iter().collect(),
    }
}

/// Every query that is maintained.
pub(crate) fn queries(window: Window, subject: Subject) -> Vec<(&'static str, Query)> {
    let plain = || selection(window, subject, None);
    let hats = || selection(window, subject, Some(("category", "hats")));
    vec![
        ("count", Query::Count(plain())),
        ("sum", Query::Sum(plain())),
        ("days", Query::DistinctDays(plain())),
        ("streak", Query::Streak(plain())),
        ("last", Query::Last(plain())),
        ("count, filtered", Query::Count(hats())),
        ("first, filtered", Query::First(hats())),
        ("last, filtered", Query::Last(hats())),
    ]
}

/// Counts of activities about so many items.
pub(crate) fn of_items(items: std::ops::Range<u32>, window: Window) -> Vec<Query> {
    let count = |item: u32| {
        let item = item.to_string();
        Query::Count(selection(window, Subject::Claimant, Some(("item", &item))))
    };
    items.map(count).collect()
}
