//! SQL for `plugin_signatures`.

use crate::db::{Result, Tx};
use crate::sandbox::Digest;

/// Stores a signature, unless the version has one that is at least as good; then `false`. A verified signature is
/// better than an unverified one, and one of an active key is better than one of a revoked key.
pub(in crate::plugins) async fn attach(
    tx: &mut Tx,
    digest: Digest,
    key_id: String,
    verified: bool,
    text: String,
) -> Result<bool> {
    const SQL: &str = "INSERT INTO plugin_signatures (digest, key_id, verified, signature) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (digest) DO UPDATE SET key_id = excluded.key_id, verified = excluded.verified, \
        signature = excluded.signature \
        WHERE excluded.verified AND (NOT plugin_signatures.verified OR (plugin_signatures.key_id <> excluded.key_id \
            AND plugin_signatures.key_id IN (SELECT key_id FROM plugin_keys WHERE revoked_at IS NOT NULL)))";
    let attached = tx
        .query(SQL)
        .bind(digest)
        .bind(key_id)
        .bind(verified)
        .bind(text)
        .execute(tx)
        .await?;
    Ok(attached == 1)
}
