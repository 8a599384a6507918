//! SQL for `plugin_usage`.

use crate::db::{Result, Tx};
use crate::plugins::usage::Totals;
use crate::sandbox::Digest;

/// Adds to the totals of a version.
pub(in crate::plugins) async fn add(tx: &mut Tx, digest: Digest, totals: Totals) -> Result<()> {
    const SQL: &str = "INSERT INTO plugin_usage (digest, runs, failures, last_run_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (digest) DO UPDATE SET runs = plugin_usage.runs + excluded.runs, \
        failures = plugin_usage.failures + excluded.failures, \
        last_run_at = CASE WHEN plugin_usage.last_run_at > excluded.last_run_at \
            THEN plugin_usage.last_run_at ELSE excluded.last_run_at END";
    tx.query(SQL)
        .bind(digest)
        .bind(totals.runs)
        .bind(totals.failures)
        .bind(totals.last_run_at)
        .execute(tx)
        .await?;
    Ok(())
}
