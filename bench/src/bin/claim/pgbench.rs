//! `pgbench` with one transaction per claim, on the same PostgreSQL server and Meed's schema, in a separate database.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use meed_host::db::Db;
use tempfile::TempDir;

use crate::cpu::Cpu;
use crate::fleet::variable;
use crate::load::{Load, Measured};

const USERS: u32 = 2000;
const EVENTS: u32 = 1000;

/// Rows that a claim refers to. Ids are numbers formatted as UUIDs.
const FILL: [&str; 5] = [
    "INSERT INTO users (id, email, password_hash, role, invite_code, disabled, created_at) \
        SELECT ('00000000-0000-7000-8000-' || LPAD(n::TEXT, 12, '0'))::UUID, n::TEXT, '', 'USER', n::TEXT, FALSE, 0 \
        FROM GENERATE_SERIES(1, 2000) AS n",
    "INSERT INTO plugin_versions (digest, id, name, version, title, description, texts, params_schema, abi, class, size_bytes, \
            state, created_at) \
        VALUES ('sha256:0', '00000000-0000-7000-8000-000000000001', 'p', '1.0.0', '', '', '{}', '{}', '', 'STANDARD', 0, 'ACTIVE', 0)",
    "INSERT INTO rewards (id, name, type, value, revision, created_by, created_at, updated_at) \
        SELECT ('00000000-0000-7000-8000-' || LPAD(n::TEXT, 12, '0'))::UUID, n::TEXT, 'POINT', 10, 1, \
            '00000000-0000-7000-8000-000000000001', 0, 0 FROM GENERATE_SERIES(1, 1000) AS n",
    "INSERT INTO reward_stock (reward_id, total, remaining, since) SELECT id, 1000000000, 1000000000, 1 FROM rewards",
    "INSERT INTO events (id, name, title, description, start_at, end_at, is_active, tags, reward_ids, time_zone, plugin_digest, \
            plugin_name, plugin_version, params, queries, state, recurrence, recurrence_count, max_quantity, seed_secret, \
            revision, created_by, created_at, updated_at) \
        SELECT id, name, '', '', 0, 1, TRUE, '[]', '[]', 'UTC', 'sha256:0', 'p', '1.0.0', '{}', '[]', '', 'ONCE', 1000, 1, '', 1, \
            '00000000-0000-7000-8000-000000000001', 0, 0 FROM rewards",
];

/// The reads of a claim before its decision.
const READ: &str = "\
SELECT CAST(-1 AS BIGINT) AS slot, created_at AS number, CASE WHEN disabled THEN 'disabled' END AS text, CAST(NULL AS UUID) AS id FROM users WHERE id = ('00000000-0000-7000-8000-' || LPAD(:user::TEXT, 12, '0'))::UUID \
UNION ALL SELECT -2, COUNT(*), NULL, NULL FROM reward_requests WHERE event_id = ('00000000-0000-7000-8000-' || LPAD(:event::TEXT, 12, '0'))::UUID AND user_id = ('00000000-0000-7000-8000-' || LPAD(:user::TEXT, 12, '0'))::UUID AND status = 'GRANTED' AND received_at <= 99999999999999 \
UNION ALL SELECT -3, slot, NULL, NULL FROM reward_requests WHERE event_id = ('00000000-0000-7000-8000-' || LPAD(:event::TEXT, 12, '0'))::UUID AND user_id = ('00000000-0000-7000-8000-' || LPAD(:user::TEXT, 12, '0'))::UUID AND status = 'GRANTED' AND period = 'once' \
UNION ALL SELECT -4, s.remaining, NULL, s.reward_id FROM event_rewards e JOIN reward_stock s ON s.reward_id = e.reward_id WHERE e.event_id = ('00000000-0000-7000-8000-' || LPAD(:event::TEXT, 12, '0'))::UUID;
";

/// Creates an empty database on the server of this run. Returns its URL.
pub(crate) fn create_database(name: &str) -> anyhow::Result<String> {
    let server = variable("MEED_BENCH_POSTGRES")?.display().to_string();
    let admin = Command::new(programs()?.join("createdb"))
        .arg("--maintenance-db")
        .arg(format!("{server}/postgres"))
        .arg(name)
        .output()?;
    if !admin.status.success() {
        bail!("createdb {name}: {}", String::from_utf8_lossy(&admin.stderr));
    }
    Ok(format!("{server}/{name}"))
}

fn programs() -> anyhow::Result<PathBuf> {
    variable("MEED_BENCH_POSTGRES_PROGRAMS")
}

pub(crate) struct Baseline {
    database: String,
    scripts: TempDir,
}

impl Baseline {
    pub(crate) async fn build(receipt_bytes: usize) -> anyhow::Result<Self> {
        let database = create_database("baseline")?;
        let db = Db::connect(&database, 2).await?;
        db.migrate().await?;
        let mut tx = db.begin().await?;
        for fill in FILL {
            tx.query(fill).execute(&mut tx).await?;
        }
        tx.query("INSERT INTO event_rewards (event_id, reward_id, position) SELECT id, id, 0 FROM rewards")
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        db.close().await;
        let scripts = tempfile::tempdir()?;
        let script = |name: &str, text: String| std::fs::write(scripts.path().join(name), text);
        script("hot.sql", format!("{}{}", variables(1), writes(receipt_bytes)?))?;
        script(
            "spread.sql",
            format!("{}{READ}{}", variables(EVENTS), writes(receipt_bytes)?),
        )?;
        Ok(Self { database, scripts })
    }

    /// Only the writes, for one event with one stock.
    pub(crate) fn hot(&self, load: &Load) -> anyhow::Result<Measured> {
        self.run("hot.sql", load)
    }

    /// Reads and writes, spread over all events.
    pub(crate) fn spread(&self, load: &Load) -> anyhow::Result<Measured> {
        self.run("spread.sql", load)
    }

    fn run(&self, script: &str, load: &Load) -> anyhow::Result<Measured> {
        let log = tempfile::tempdir()?;
        let before = Cpu::now();
        let output = Command::new(programs()?.join("pgbench"))
            .args([
                "--no-vacuum",
                "--protocol",
                "prepared",
                "--jobs",
                "1",
                "--log",
                "--client",
            ])
            .arg(load.connections.to_string())
            .arg("--time")
            .arg(load.seconds.as_secs().to_string())
            .arg("--file")
            .arg(self.scripts.path().join(script))
            .arg(&self.database)
            .current_dir(&log)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("pgbench {script}: {text}{}", String::from_utf8_lossy(&output.stderr));
        }
        let per_second = text
            .lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
            .with_context(|| format!("pgbench printed no tps: {text}"))?;
        // The columns of the log: client, transaction, microseconds, …
        let mut latencies = Vec::new();
        for file in std::fs::read_dir(&log)? {
            for line in std::fs::read_to_string(file?.path())?.lines() {
                let micros = line.split(' ').nth(2).and_then(|micros| micros.parse().ok());
                latencies.extend(micros.map(Duration::from_micros));
            }
        }
        latencies.sort();
        let at = |percent: usize| {
            latencies
                .get(latencies.len().saturating_sub(1) * percent / 100)
                .copied()
        };
        Ok(Measured {
            per_second,
            p50: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            granted: latencies.len(),
            answers: latencies.len(),
            failures: 0,
            failure: None,
            cpu: (Cpu::now() - before).each(latencies.len()),
        })
    }
}

fn variables(events: u32) -> String {
    format!("\\set user random(1, {USERS})\n\\set event random(1, {events})\n\\set place random(1, 1000000000000)\n")
}

/// A time-ordered id, as Meed creates it, so that each index grows at its end.
const ID: &str = "(LPAD(TO_HEX((EXTRACT(EPOCH FROM CLOCK_TIMESTAMP()) * 1000)::BIGINT), 12, '0') || '7' \
    || SUBSTR(MD5(RANDOM()::TEXT), 1, 19))::UUID";

/// A granted claim, in the order that holds the lock of the stock for the shortest time.
fn writes(receipt_bytes: usize) -> anyhow::Result<String> {
    // Random, because a receipt does not compress well either.
    let mut receipt = String::with_capacity(receipt_bytes + 16);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    while receipt.len() < receipt_bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        write!(receipt, "{:08x}", state >> 32)?;
    }
    let event = "('00000000-0000-7000-8000-' || LPAD(:event::TEXT, 12, '0'))::UUID";
    let user = "('00000000-0000-7000-8000-' || LPAD(:user::TEXT, 12, '0'))::UUID";
    Ok(format!(
        "BEGIN;
SELECT revision FROM events WHERE id = {event} AND deleted_at IS NULL FOR SHARE;
INSERT INTO reward_requests (id, event_id, event_revision, user_id, plugin_digest, status, period, slot, reasons, progress, retry_at, received_at, decided_at, fuel, receipt, receipt_salt, receipt_digest, receipt_path, receipt_key_id, receipt_signature) VALUES ({ID}, {event}, 1, {user}, 'sha256:0', 'GRANTED', 'once', :place, '[]', '[]', NULL, 0, 0, 1000, '{receipt}', '\\x00', '\\x00', '\\x00', 'receipt-0', '\\x00') ON CONFLICT DO NOTHING RETURNING id AS request \\gset
INSERT INTO grants (user_id, id, request_id, reward_id, event_id, quantity, reward, granted_at, stock_since) VALUES ({user}, {ID}, :request::UUID, {event}, {event}, 1, '{{}}', 0, 1);
INSERT INTO outbox (id, kind, user_id, payload, created_at) VALUES ({ID}, 'reward.granted', {user}, '{{}}', 0);
UPDATE reward_stock SET remaining = remaining - 1 WHERE reward_id = {event} AND remaining >= 1;
COMMIT;
"
    ))
}
