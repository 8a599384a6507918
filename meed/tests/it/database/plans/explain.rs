//! Reads the plans of SQLite and finds what would grow with a table.

use std::collections::BTreeSet;

use meed_host::db::Db;
use sqlx::{AssertSqlSafe, Row as _};

/// The tables that grow with users and claims. Operators write the others by hand.
pub const GROWING: &[&str] = &[
    "users",
    "user_directory",
    "user_attributes",
    "sessions",
    "refresh_tokens",
    "activities",
    "activity_directory",
    "fact_heads",
    "fact_marks",
    "fact_days",
    "fact_compactions",
    "reward_requests",
    "grants",
    "reward_codes",
    "granted_codes",
    "reversals",
    "idempotency_keys",
    "pending_claims",
    "claim_queues",
    "fulfilments",
    "make_good_entries",
    "release_counters",
    "release_divergences",
    "outbox",
    "outbox_topic_messages",
    "webhook_deliveries",
    "event_budgets",
    "password_resets",
    "email_confirmations",
    "mails",
    "user_erasures",
    "pending_invitations",
    "audit_log",
    "transparency_queue",
    "transparency_leaves",
    "transparency_tiles",
    "transparency_checkpoints",
    "transparency_removals",
];

/// A message for each plan that reads more in a fuller database.
pub async fn faults(db: &Db, statements: impl Iterator<Item = &String>) -> BTreeSet<String> {
    let Db::Sqlite { read, .. } = db else {
        panic!("not SQLite")
    };
    let mut faults = BTreeSet::new();
    for sql in statements {
        let explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
        let rows = explain
            .fetch_all(read)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        let steps: Vec<String> = rows.iter().map(|row| row.get::<String, _>(3)).collect();
        if let Some(step) = steps.iter().find(|step| is_growing_step(sql, step)) {
            faults.insert(format!("{step}\n    in {sql}"));
        }
    }
    faults
}

/// Whether a step of SQLite's plan reads a whole table, sorts, or finds the rows of a user by something else.
fn is_growing_step(sql: &str, step: &str) -> bool {
    let is_growing = step.split_whitespace().nth(1).is_some_and(|name| grows(sql, name));
    if step.starts_with("SCAN ") {
        // A walk along an index ends with the page.
        return is_growing && !(step.contains(" INDEX ") && sql.contains(" LIMIT "));
    }
    if step.starts_with("SEARCH ") {
        return is_growing
            && sql.contains("WHERE TRUE")
            && sql.contains("user_id = $")
            && (step.contains("(event_id=?") || step.contains("(status=?") || step.contains("(fulfilment=?"));
    }
    step.starts_with("USE TEMP B-TREE") && GROWING.iter().any(|table| sql.contains(&format!("FROM {table} ")))
}

/// Whether this name in a statement is a growing table or an alias of one.
fn grows(sql: &str, name: &str) -> bool {
    let words: Vec<&str> = sql
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let follows = |table: &str, at: usize| {
        let alias = match words.get(at + 1) {
            Some(&"AS") => words.get(at + 2),
            alias => alias,
        };
        words[at] == table && (name == table || alias == Some(&name))
    };
    (0..words.len()).any(|at| GROWING.iter().any(|table| follows(table, at)))
}
