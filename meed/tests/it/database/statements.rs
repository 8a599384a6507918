//! The statements that a process ran, from its log

use crate::faults::fleet::Fleet;
use serde_json::Value;

/// Settings of a process that logs every statement.
pub const LOGGED: [(&str, &str); 2] = [
    ("MEED__LOG__FORMAT", "json"),
    ("MEED__LOG__FILTER", "warn,sqlx::query=debug"),
];

/// In the order of their ends.
pub fn of(fleet: &Fleet) -> Vec<String> {
    let log = fleet.log(0);
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| statement(&line)).collect()
}

/// The statement of a log line of the database driver, which logs a short one as the summary only.
fn statement(line: &Value) -> Option<String> {
    let (full, summary) = (line["db.statement"].as_str(), line["summary"].as_str()?);
    let sql = full.map(str::trim).filter(|sql| !sql.is_empty()).unwrap_or(summary);
    let verbs = ["SELECT", "WITH", "INSERT", "UPDATE", "DELETE"];
    verbs.iter().any(|verb| sql.starts_with(verb)).then(|| sql.to_owned())
}
