//! Raw SQLite: one transaction per claim in sequence, without a server.

use std::path::Path;
use std::time::Instant;

use meed_host::clock::Clock;
use meed_host::db::Db;

use crate::cpu::Cpu;
use crate::load::{Load, Measured};

/// The rows of one granted claim, with the keys and indexes of Meed.
const TABLES: [&str; 6] = [
    "CREATE TABLE requests (id BLOB NOT NULL PRIMARY KEY, event_id BLOB NOT NULL, user_id BLOB NOT NULL, \
        place INTEGER NOT NULL, receipt TEXT NOT NULL, UNIQUE (event_id, user_id, place)) STRICT",
    "CREATE INDEX requests_user ON requests (user_id, id)",
    "CREATE INDEX requests_event ON requests (event_id, id)",
    "CREATE TABLE grants (id BLOB NOT NULL PRIMARY KEY, request_id BLOB NOT NULL REFERENCES requests (id)) STRICT",
    "CREATE TABLE outbox (id BLOB NOT NULL PRIMARY KEY, payload TEXT NOT NULL) STRICT",
    "CREATE TABLE stock (id INTEGER NOT NULL PRIMARY KEY, remaining INTEGER NOT NULL CHECK (remaining >= 0)) STRICT",
];

pub(crate) struct Baseline {
    db: Db,
    receipt: String,
}

impl Baseline {
    pub(crate) async fn build(directory: &Path, receipt_bytes: usize) -> anyhow::Result<Self> {
        let db = Db::connect(&format!("sqlite:{}", directory.join("raw.db").display()), 1).await?;
        let mut tx = db.begin().await?;
        for table in TABLES {
            tx.query(table).execute(&mut tx).await?;
        }
        tx.query("INSERT INTO stock VALUES (1, 1000000000)")
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(Self {
            db,
            receipt: "x".repeat(receipt_bytes),
        })
    }

    pub(crate) async fn run(&self, load: &Load) -> anyhow::Result<Measured> {
        let clock = Clock::System;
        let (event, user) = (clock.new_id(), clock.new_id());
        let before = Cpu::now();
        let started = Instant::now();
        let mut latencies = Vec::new();
        let mut place = i64::from_le_bytes(clock.random()) >> 2;
        while started.elapsed() < load.seconds {
            let begun = Instant::now();
            let (id, payload) = (clock.new_id(), "{}".to_owned());
            place += 1;
            let mut tx = self.db.begin().await?;
            let request = tx
                .query("INSERT INTO requests VALUES ($1, $2, $3, $4, $5)")
                .bind(id)
                .bind(event);
            let request = request.bind(user).bind(place).bind(self.receipt.clone());
            request.execute(&mut tx).await?;
            let grant = tx
                .query("INSERT INTO grants VALUES ($1, $2)")
                .bind(clock.new_id())
                .bind(id);
            grant.execute(&mut tx).await?;
            let outbox = tx
                .query("INSERT INTO outbox VALUES ($1, $2)")
                .bind(clock.new_id())
                .bind(payload);
            outbox.execute(&mut tx).await?;
            tx.query("UPDATE stock SET remaining = remaining - 1 WHERE id = 1 AND remaining >= 1")
                .execute(&mut tx)
                .await?;
            tx.commit().await?;
            latencies.push(begun.elapsed());
        }
        latencies.sort();
        let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok(Measured {
            per_second: latencies.len() as f64 / started.elapsed().as_secs_f64(),
            p50: at(50),
            p99: at(99),
            granted: latencies.len(),
            answers: latencies.len(),
            failures: 0,
            failure: None,
            cpu: (Cpu::now() - before).each(latencies.len()),
        })
    }
}
