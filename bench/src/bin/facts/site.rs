//! A database, and what fills it.

use std::process::Command;

use anyhow::{Context as _, ensure};
use meed_host::activities::ActivityService;
use meed_host::app;
use meed_host::clock::{Clock, Timestamp};
use meed_host::config::Config;
use meed_host::contract::{Filter, Query, Selection, Subject, Window};
use meed_host::db::{Db, Engine};
use meed_host::facts::{FactBuilder, Plan, Zone, need};
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

    /// Activities of one user, spread over the year.
    pub(crate) async fn fill(&self, user: u64, count: u64) -> anyhow::Result<()> {
        let sql = format!(
            "INSERT INTO activities (user_id, source, source_id, id, kind, amount, attributes, occurred_at, recorded_at) \
             SELECT {{id:{user}}}, 'fill', 'a' || n, {{id:n}}, '{KIND}', n % 1000, \
                CASE WHEN n % 3 = 0 THEN '{{\"category\": \"hats\"}}' ELSE '{{}}' END{cast}, \
                {BEGIN} + n * {YEAR} / {count}, {BEGIN} + n * {YEAR} / {count} FROM {{rows}} WHERE TRUE",
            cast = if self.db.engine() == Engine::Postgres {
                "::JSONB"
            } else {
                ""
            }
        );
        self.run(&sql, count).await
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
        need(&mut tx, self.clock.new_id(), &plan, zone, until).await?;
        tx.commit().await?;
        Ok(())
    }
}

pub(crate) fn user(number: u64) -> Uuid {
    Uuid::from_u128(0x7000_8000_0000_0000_0000 | u128::from(number))
}

pub(crate) fn selection(window: Window, is_filtered: bool) -> Selection {
    let hats = Filter {
        attribute: "category".to_owned(),
        equals: "hats".to_owned(),
    };
    Selection {
        kind: KIND.to_owned(),
        subject: Subject::Claimant,
        window,
        filters: if is_filtered { vec![hats] } else { Vec::new() },
    }
}

/// Every query that is maintained.
pub(crate) fn queries(window: Window) -> Vec<(&'static str, Query)> {
    vec![
        ("count", Query::Count(selection(window, false))),
        ("sum", Query::Sum(selection(window, false))),
        ("count, filtered", Query::Count(selection(window, true))),
        ("days", Query::DistinctDays(selection(window, false))),
        ("streak", Query::Streak(selection(window, false))),
        ("last", Query::Last(selection(window, false))),
    ]
}
