//! The plans that PostgreSQL ran, and what they read: `auto_explain` sends each to the client, which logs it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::explain::GROWING;
use crate::support::TestApp;

/// Settings of the database. Without times: how much is read does not depend on the machine.
const SETTINGS: [(&str, &str); 8] = [
    ("session_preload_libraries", "auto_explain"),
    ("auto_explain.log_min_duration", "0"),
    ("auto_explain.log_analyze", "on"),
    ("auto_explain.log_timing", "off"),
    ("auto_explain.log_buffers", "on"),
    ("auto_explain.log_format", "json"),
    ("auto_explain.log_level", "notice"),
    // The checks of foreign keys.
    ("auto_explain.log_nested_statements", "on"),
];

/// The log target of what the server tells its client.
pub const TOLD: &str = "sqlx::postgres::notice=info";

/// Rows of growing tables that one part of a plan may read, and rows that it may sort. Batches of sweeps have 500 rows, the
/// tables many thousands.
const MOST_ROWS: f64 = 2_500.0;

/// Blocks that a statement may touch besides those of its rows, and for each of them.
const MOST_BLOCKS: f64 = 100.0;
const BLOCKS_PER_ROW: f64 = 60.0;

/// Lets all further connections tell their plans.
pub async fn tell_plans(app: &TestApp) {
    let mut tx = app.begin().await;
    let url = app.database_url();
    let (_, name) = url.rsplit_once('/').expect("a database");
    for (setting, value) in SETTINGS {
        let sql = format!("ALTER DATABASE \"{name}\" SET {setting} = '{value}'");
        let query = app.app.db.query_assembled(sql);
        query.execute(&mut tx).await.expect("a setting");
    }
    tx.commit().await.expect("commit");
}

/// What the statements of a process read too much of, by statement; and the number of statements.
pub fn faults(log: &str, allowed: impl Fn(&str) -> bool) -> (BTreeMap<String, String>, usize) {
    let mut faults = BTreeMap::new();
    let mut statements = std::collections::BTreeSet::new();
    for entry in log.lines().filter_map(logged_plan) {
        let sql = entry["Query Text"].as_str().unwrap_or_default().to_owned();
        statements.insert(sql.clone());
        if allowed(&sql) || faults.contains_key(&sql) {
            continue;
        }
        let mut read = Read::default();
        read.add(&entry["Plan"]);
        let blocks = number(&entry["Plan"], "Shared Hit Blocks") + number(&entry["Plan"], "Shared Read Blocks");
        if blocks > MOST_BLOCKS + BLOCKS_PER_ROW * read.rows {
            read.fault = Some(format!("{blocks} blocks for {} rows", read.rows));
        }
        if let Some(fault) = read.fault {
            faults.insert(sql, format!("{fault}\n{:#}", entry["Plan"]));
        }
    }
    (faults, statements.len())
}

/// The statement and its plan, if the log line tells one.
fn logged_plan(line: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).ok()?;
    let message = line["message"].as_str()?;
    let (_, plan) = message.strip_prefix("duration:")?.split_once("plan:\n")?;
    serde_json::from_str(plan).ok()
}

/// What a plan read.
#[derive(Default)]
struct Read {
    rows: f64,
    fault: Option<String>,
}

impl Read {
    fn add(&mut self, node: &Value) {
        let kind = node["Node Type"].as_str().unwrap_or_default();
        let loops = number(node, "Actual Loops");
        let returned = number(node, "Actual Rows") * loops;
        let removed = number(node, "Rows Removed by Filter") + number(node, "Rows Removed by Index Recheck");
        let read = returned + removed * loops;
        self.rows += read;
        let table = node["Relation Name"].as_str().unwrap_or_default();
        let is_sort = kind.ends_with("Sort");
        if read > MOST_ROWS && (GROWING.contains(&table) || is_sort) {
            self.fault = Some(format!("{kind} {table} reads {read} rows"));
        }
        for child in node["Plans"].as_array().into_iter().flatten() {
            self.add(child);
        }
    }
}

fn number(node: &Value, name: &str) -> f64 {
    node[name].as_f64().unwrap_or_default()
}
