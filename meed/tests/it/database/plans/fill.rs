//! Some thousands of rows in every table that grows with users and claims.

use crate::support::TestApp;

const ROWS: usize = 3_000;

/// The event gets most of the requests of others; the user has few.
pub async fn fill(app: &TestApp, event: &str, user: &str) {
    let mut tx = app.begin().await;
    for statement in STATEMENTS {
        let sql = filled_in(statement, event, user);
        let query = app.app.db.query_assembled(sql.clone());
        query
            .execute(&mut tx)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    tx.commit().await.expect("commit");
}

pub async fn analyze(app: &TestApp) {
    let mut tx = app.begin().await;
    tx.query("ANALYZE").execute(&mut tx).await.expect("statistics");
    tx.commit().await.expect("commit");
}

/// `{n}` numbers the rows of `{rows}`.
fn filled_in(statement: &str, event: &str, user: &str) -> String {
    let rows = format!(
        "(WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {ROWS}) SELECT n FROM s) AS s"
    );
    let quoted = |id: &str| format!("x'{}'", id.replace('-', ""));
    let status = "CASE n % 5 WHEN 0 THEN 'GRANTED' WHEN 1 THEN 'FAILED' WHEN 2 THEN 'HELD' ELSE 'REJECTED' END";
    statement
        .replace("{rows}", &rows)
        .replace("{id}", "randomblob(16)")
        .replace("{of_row}", "unhex(printf('%032x', n))")
        .replace("{bytes}", "x'00'")
        .replace("{event}", &quoted(event))
        .replace("{user}", &quoted(user))
        .replace("{status}", status)
        .replace("{reward}", r#"'{"type": "ITEM", "revision": 1}'"#)
        .replace("{digest}", &format!("'sha256:{}'", "0".repeat(64)))
}

/// `{of_row}` is an id that the statements share.
const STATEMENTS: &[&str] = &[
    "INSERT INTO users (id, email, password_hash, role, invite_code, disabled, created_at) \
     SELECT {of_row}, 'u' || n, '', 'USER', 'i' || n, FALSE, 0 FROM {rows}",
    "INSERT INTO user_directory (kind, value, user_id) SELECT 'EMAIL', 'u' || n, {of_row} FROM {rows}",
    "INSERT INTO user_attributes (user_id, name, set_at, id, value) \
     SELECT {user}, 'a' || (n % 3), n, {id}, 'x' FROM {rows}",
    "INSERT INTO sessions (user_id, id, created_at, expires_at) SELECT {of_row}, {of_row}, 0, n FROM {rows}",
    "INSERT INTO refresh_tokens (user_id, hash, session_id, created_at, expires_at) \
     SELECT {of_row}, {bytes}, {of_row}, 0, n FROM {rows}",
    "INSERT INTO activities (user_id, source, source_id, id, kind, attributes, occurred_at, recorded_at) \
     SELECT {of_row}, 'fill', 'a' || n, {id}, 'auth.login', '{}', n, n FROM {rows}",
    "INSERT INTO activity_directory (source, source_id, user_id) SELECT 'fill', 'a' || n, {of_row} FROM {rows}",
    "INSERT INTO reward_requests (id, event_id, event_revision, user_id, plugin_digest, status, period, slot, reasons, \
     progress, received_at, decided_at, receipt_digest, receipt_path, receipt_key_id, receipt_signature) \
     SELECT {of_row}, {event}, 1, {of_row}, {digest}, {status}, 'once', 1, '[]', '[]', n, n, {bytes}, {bytes}, '', {bytes} \
     FROM {rows}",
    "INSERT INTO grants (user_id, id, request_id, reward_id, event_id, quantity, reward, granted_at) \
     SELECT {of_row}, {of_row}, {of_row}, {event}, {event}, 1, {reward}, n FROM {rows}",
    "INSERT INTO fulfilments (user_id, grant_id, state, changed_at) SELECT {of_row}, {of_row}, 'DELIVERED', n \
     FROM {rows} WHERE n % 2 = 0",
    "INSERT INTO idempotency_keys (user_id, key, fingerprint, request_id, response, created_at, expires_at) \
     SELECT {of_row}, 'k', {bytes}, {of_row}, '{}', 0, 4000000000000 FROM {rows}",
    "INSERT INTO outbox (id, kind, user_id, payload, created_at, sent_at) \
     SELECT {of_row}, 'reward.granted', {of_row}, '{}', n, 4000000000000 FROM {rows}",
    "INSERT INTO outbox (id, kind, payload, created_at, sent_at) VALUES ({id}, 'event.created', '{}', 1, 1)",
    "INSERT INTO webhook_endpoints (id, url, types, acknowledges, state, secret, revision, created_by, created_at, \
     updated_at, fence, lease_until) VALUES ({event}, 'http://127.0.0.1:9', '[]', FALSE, 'PAUSED', {bytes}, 1, {event}, 0, \
     0, 0, 0)",
    "INSERT INTO webhook_deliveries (endpoint_id, message_id, ordering_key, created_at, status, attempts, next_at) \
     SELECT {event}, {of_row}, {of_row}, n, CASE n % 3 WHEN 0 THEN 'PENDING' WHEN 1 THEN 'PARKED' ELSE 'DELIVERED' END, 0, \
     n FROM {rows}",
];
