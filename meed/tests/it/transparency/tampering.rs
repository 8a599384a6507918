//! Edits of a database with full access, and what finds each. `docs/transparency-log.md` has the table

use meed_host::db::Engine;
use meed_host::transparency::Checkpoint;
use rstest_reuse::apply;

use super::{append, assert_good, checkpoint, history, newest, verify};
use crate::support::{TestApp, on_both_engines};

/// The tables that the edits change, in an order in which they can be filled.
const TABLES: &[&str] = &[
    "receipt_terms",
    "reward_requests",
    "grants",
    "reversals",
    "releases",
    "release_entries",
    "backtests",
    "audit_log",
    "user_erasures",
    "transparency_queue",
    "transparency_leaves",
    "transparency_tiles",
    "transparency_checkpoints",
    "transparency_log",
    "transparency_removals",
];

/// Runs statements as someone who can also switch off foreign keys.
pub(super) async fn run(app: &TestApp, statements: &[String]) {
    let mut tx = app.begin().await;
    let free = match app.app.db.engine() {
        Engine::Sqlite => "PRAGMA defer_foreign_keys = ON",
        Engine::Postgres => "SET LOCAL session_replication_role = replica",
    };
    tx.query(free).execute(&mut tx).await.expect("no foreign keys");
    for sql in statements {
        let query = app.app.db.query_assembled(sql.clone());
        let ran = query.execute(&mut tx).await;
        ran.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    tx.commit().await.expect("a commit");
}

pub(super) async fn save(app: &TestApp) {
    let copies = TABLES
        .iter()
        .map(|table| format!("CREATE TABLE saved_{table} AS SELECT * FROM {table}"));
    run(app, &copies.collect::<Vec<_>>()).await;
}

pub(super) async fn restore(app: &TestApp) {
    let deletions = TABLES.iter().rev().map(|table| format!("DELETE FROM {table}"));
    let copies = TABLES
        .iter()
        .map(|table| format!("INSERT INTO {table} SELECT * FROM saved_{table}"));
    run(app, &deletions.chain(copies).collect::<Vec<_>>()).await;
}

/// The first granted request that was not reversed.
const GRANTED: &str = "(SELECT id FROM reward_requests WHERE status = 'GRANTED' ORDER BY id LIMIT 1)";
/// The last of them.
const LAST: &str = "(SELECT id FROM reward_requests WHERE status = 'GRANTED' ORDER BY id DESC LIMIT 1)";
/// An entry about a reward.
const ENTRY: &str = "(SELECT id FROM audit_log WHERE action = 'POST /rewards' ORDER BY id LIMIT 1)";

/// An edit: its name, its statements and a part of what finds it.
type Edit = (&'static str, &'static [&'static str], &'static str);

const EDITS: &[Edit] = &[
    (
        "a rejection becomes a grant",
        &["UPDATE reward_requests SET status = 'GRANTED' WHERE status = 'REJECTED'"],
        "the row was changed, it is claim-granted now",
    ),
    (
        "a grant is said to be decided later",
        &["UPDATE reward_requests SET decided_at = decided_at + 1 WHERE id = {granted}"],
        "claim-granted {granted}: the row was changed",
    ),
    (
        "the period of a grant is edited",
        &["UPDATE reward_requests SET period = 'x' WHERE id = {granted}"],
        "claim-granted {granted}: the row was changed",
    ),
    (
        "the reasons of a rejection are removed",
        &["UPDATE reward_requests SET reasons = '[]' WHERE status = 'REJECTED' AND review IS NULL"],
        "reasons is not what the receipt says",
    ),
    (
        "a review names another person",
        &["UPDATE reward_requests SET review = NULL WHERE review IS NOT NULL"],
        "review is not what the receipt says",
    ),
    (
        "a grant is said to be of a make-good",
        &["UPDATE reward_requests SET make_good_id = id WHERE id = {granted}"],
        "the make-good is not what the receipt says",
    ),
    (
        "a receipt is edited",
        &["UPDATE reward_requests SET receipt = REPLACE(receipt, 'GRANTED', 'REJECTED') WHERE id = {granted}"],
        "the receipt does not have its digest",
    ),
    (
        "a receipt disappears without an erasure",
        &["UPDATE reward_requests SET receipt = NULL, receipt_salt = NULL WHERE id = {granted}"],
        "the content is gone, and the log has no erasure",
    ),
    (
        "a signature is replaced",
        &["UPDATE reward_requests SET receipt_signature = receipt_digest WHERE id = {granted}"],
        "no trusted key signed the receipt",
    ),
    (
        "the terms of receipts are edited",
        &["UPDATE receipt_terms SET terms = REPLACE(terms, 'An event', 'An offer')"],
        "the terms of the receipt were changed",
    ),
    (
        "the terms of receipts are deleted",
        &["DELETE FROM receipt_terms"],
        "the terms of the receipt are gone",
    ),
    (
        "a quantity grows",
        &["UPDATE grants SET quantity = quantity + 1 WHERE request_id = {granted}"],
        "claim-granted {granted}: the row was changed",
    ),
    (
        "a grant loses its reward",
        &["DELETE FROM grants WHERE request_id = {granted}"],
        "claim-granted {granted}: the row was changed",
    ),
    (
        "a granted request is deleted",
        &[
            "DELETE FROM grants WHERE request_id = {granted}",
            "DELETE FROM reward_requests WHERE id = {granted}",
        ],
        "claim-granted {granted}: the row was deleted",
    ),
    (
        "a grant is given to another user",
        &[
            "UPDATE reward_requests SET user_id = (SELECT r.user_id FROM reward_requests r WHERE r.status = 'REVERSED') \
            WHERE id = {granted}",
        ],
        "claim-granted {granted}: the row was changed",
    ),
    (
        "two requests exchange their receipts",
        &[
            "CREATE TABLE swap AS SELECT id, receipt, receipt_salt, receipt_digest, receipt_path, receipt_signature \
                FROM reward_requests WHERE id IN ({granted}, {last})",
            "UPDATE reward_requests SET (receipt, receipt_salt, receipt_digest, receipt_path, receipt_signature) = \
                (SELECT s.receipt, s.receipt_salt, s.receipt_digest, s.receipt_path, s.receipt_signature FROM swap s \
                WHERE s.id <> reward_requests.id) WHERE id IN ({granted}, {last})",
            "DROP TABLE swap",
        ],
        "claim-granted {granted}: the row was changed",
    ),
    (
        "a reversed request is granted again",
        &["UPDATE reward_requests SET status = 'GRANTED' WHERE status = 'REVERSED'"],
        "which its reversal contradicts",
    ),
    (
        "a reversal is deleted with its traces",
        &[
            "DELETE FROM reversals",
            "UPDATE reward_requests SET status = 'GRANTED' WHERE status = 'REVERSED'",
            "UPDATE grants SET reversed = FALSE",
        ],
        "the row was deleted",
    ),
    (
        "the reason of a reversal is edited",
        &["UPDATE reversals SET reason = 'Nothing'"],
        "reason is not what the receipt says",
    ),
    (
        "an audit entry is edited",
        &["UPDATE audit_log SET actor_id = NULL WHERE id = {entry}"],
        "audit-entry {entry}: the row was changed",
    ),
    (
        "an audit entry is deleted",
        &["DELETE FROM audit_log WHERE id = {entry}"],
        "audit-entry {entry}: the row was deleted",
    ),
    (
        "an audit entry is deleted as if by retention",
        &[
            "INSERT INTO transparency_removals (id, kind, lower_than, removed_at) VALUES ({entry}, 'audit-entry', {new}, 0)",
            "DELETE FROM audit_log WHERE id = {entry}",
        ],
        "retention {entry}: the row has no leaf and is not queued",
    ),
    (
        "an audit entry is added by hand",
        &[
            "INSERT INTO audit_log (id, at, actor_kind, action, outcome, changes, occurrences) \
            SELECT {new}, at, actor_kind, action, outcome, changes, occurrences FROM audit_log WHERE id = {entry}",
        ],
        "audit {new}: the row has no leaf and is not queued",
    ),
    (
        "a leaf is edited",
        &["UPDATE transparency_leaves SET content = document WHERE kind = 'claim-granted' AND id = {granted}"],
        "claim-granted {granted} is not the leaf whose hash is in the tree",
    ),
    (
        "two leaves exchange their places",
        &[
            "UPDATE transparency_leaves SET position = -1 WHERE position = 1",
            "UPDATE transparency_leaves SET position = 1 WHERE position = 2",
            "UPDATE transparency_leaves SET position = 2 WHERE position = -1",
        ],
        "leaf 1: ",
    ),
    (
        "a leaf is deleted",
        &["DELETE FROM transparency_leaves WHERE position = 3"],
        "leaves 3 to 3 are missing",
    ),
    (
        "a leaf and its row are deleted",
        &[
            "DELETE FROM transparency_leaves WHERE id = {entry}",
            "DELETE FROM audit_log WHERE id = {entry}",
        ],
        "are missing",
    ),
    (
        "a tile is edited",
        &["UPDATE transparency_tiles SET hashes = (SELECT receipt_digest FROM reward_requests ORDER BY id LIMIT 1)"],
        "is not the leaf whose hash is in the tree",
    ),
    (
        "the tiles are deleted",
        &["DELETE FROM transparency_tiles"],
        "is not the leaf whose hash is in the tree",
    ),
    (
        "the last leaves are cut off",
        &["DELETE FROM transparency_leaves WHERE position >= {size} - 2"],
        "are missing",
    ),
    (
        "the last leaves and the size are cut off",
        &[
            "DELETE FROM transparency_leaves WHERE position >= {size} - 2",
            "UPDATE transparency_log SET size = {size} - 2",
        ],
        "its tail was cut off",
    ),
    (
        "leaves, tiles, size and checkpoints are cut off",
        &[
            "DELETE FROM transparency_leaves WHERE position >= {size} - 2",
            "UPDATE transparency_tiles SET hashes = SUBSTR(hashes, 1, CAST(32 * ({size} - 2) AS INTEGER))",
            "UPDATE transparency_log SET size = {size} - 2",
            "DELETE FROM transparency_checkpoints WHERE size > {size} - 2",
        ],
        "or its leaf was cut off",
    ),
    (
        "the size of the log is edited",
        &["UPDATE transparency_log SET size = size - 1"],
        "its size was changed",
    ),
    (
        "a checkpoint is edited",
        &["UPDATE transparency_checkpoints SET note = REPLACE(note, 'transparency-log', 'other-log')"],
        "no trusted key signed the checkpoint",
    ),
];

/// The values of the placeholders in an edit and in its finding.
struct Values {
    granted: String,
    last: String,
    entry: String,
    new: String,
    size: u64,
}

impl Values {
    async fn of(app: &TestApp) -> Self {
        let id = async |sql: &'static str| {
            let sql = format!(
                "SELECT id FROM reward_requests WHERE id = {sql} UNION SELECT id FROM audit_log WHERE id = {sql}"
            );
            let query = app.app.db.query_assembled(sql);
            let (id,): (uuid::Uuid,) = query.fetch_one(&app.app.db).await.expect("a row");
            id.to_string()
        };
        Self {
            granted: id(GRANTED).await,
            last: id(LAST).await,
            entry: id(ENTRY).await,
            new: app.clock.new_id().to_string(),
            size: checkpoint(&newest(app).await).size,
        }
    }

    fn in_sql(&self, app: &TestApp, sql: &str) -> String {
        let literal = |id: &str| match app.app.db.engine() {
            Engine::Sqlite => format!("x'{}'", id.replace('-', "")),
            Engine::Postgres => format!("CAST('{id}' AS UUID)"),
        };
        sql.replace("{granted}", &literal(&self.granted))
            .replace("{last}", &literal(&self.last))
            .replace("{entry}", &literal(&self.entry))
            .replace("{new}", &literal(&self.new))
            .replace("{size}", &self.size.to_string())
    }

    fn in_text(&self, text: &str) -> String {
        text.replace("{granted}", &self.granted)
            .replace("{entry}", &self.entry)
            .replace("{new}", &self.new)
    }
}

#[apply(on_both_engines)]
async fn every_edit_is_found(app: TestApp) {
    history(&app).await;
    append(&app).await;
    let values = Values::of(&app).await;
    assert_good(&verify(&app, None).await);
    save(&app).await;
    for (name, statements, expected) in EDITS {
        let statements: Vec<String> = statements.iter().map(|sql| values.in_sql(&app, sql)).collect();
        run(&app, &statements).await;
        let (report, expected) = (verify(&app, None).await, values.in_text(expected));
        println!(
            "tampering | {name} | {}",
            report.findings.first().map_or("nothing", String::as_str)
        );
        assert!(
            report.findings.iter().any(|finding| finding.contains(&expected)),
            "{name}: {expected:?} is not in {:#?}",
            report.findings
        );
        restore(&app).await;
    }
    assert_good(&verify(&app, None).await);
}

/// The checkpoint that a third party keeps.
async fn kept(app: &TestApp) -> Checkpoint {
    checkpoint(&newest(app).await)
}

#[apply(on_both_engines)]
async fn a_kept_checkpoint_finds_a_tail_that_was_cut_off_without_a_trace(app: TestApp) {
    const CUT: &[&str] = &[
        "DELETE FROM transparency_leaves WHERE position >= {size}",
        "UPDATE transparency_tiles SET hashes = SUBSTR(hashes, 1, CAST(32 * {size} AS INTEGER))",
        "UPDATE transparency_log SET size = {size}",
        "DELETE FROM transparency_checkpoints WHERE size > {size}",
    ];
    const ROWS: &str = "DELETE FROM audit_log WHERE id NOT IN (SELECT id FROM transparency_leaves) \
        AND id NOT IN (SELECT id FROM transparency_queue)";
    append(&app).await;
    app.reward(serde_json::json!({"type": "POINT"})).await;
    append(&app).await;
    let before = kept(&app).await;
    app.at("2026-03-01T12:30:00Z");
    app.reward(serde_json::json!({"type": "POINT"})).await;
    append(&app).await;
    let after = kept(&app).await;
    assert!(before.size < after.size);
    let cut: Vec<String> = CUT
        .iter()
        .map(|sql| sql.replace("{size}", &before.size.to_string()))
        .collect();
    // With the rows, nothing in the database says that they were there.
    run(&app, &[cut, vec![ROWS.to_owned()]].concat()).await;
    assert_good(&verify(&app, None).await);
    assert_good(&verify(&app, Some(&before)).await);
    let report = verify(&app, Some(&after)).await;
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.contains("its tail was cut off")),
        "{:#?}",
        report.findings
    );
}

#[apply(on_both_engines)]
async fn a_kept_checkpoint_finds_a_history_that_was_rewritten(app: TestApp) {
    const REWRITE: &[&str] = &[
        "UPDATE audit_log SET action = 'GET /rewards' WHERE action = 'POST /rewards'",
        "DELETE FROM transparency_leaves",
        "DELETE FROM transparency_tiles",
        "DELETE FROM transparency_checkpoints",
        "DELETE FROM transparency_log",
        "DELETE FROM transparency_queue",
        "INSERT INTO transparency_queue (source, id) SELECT 'audit', id FROM audit_log",
    ];
    app.reward(serde_json::json!({"type": "POINT"})).await;
    append(&app).await;
    let before = kept(&app).await;
    run(&app, &REWRITE.iter().map(|sql| (*sql).to_owned()).collect::<Vec<_>>()).await;
    append(&app).await;
    // The server signed the new history like any other.
    assert_good(&verify(&app, None).await);
    let report = verify(&app, Some(&before)).await;
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.contains("the history was rewritten")),
        "{:#?}",
        report.findings
    );
}

#[apply(on_both_engines)]
async fn a_row_that_is_queued_again_keeps_its_first_leaf(app: TestApp) {
    history(&app).await;
    append(&app).await;
    let values = Values::of(&app).await;
    let again = [
        "UPDATE audit_log SET action = 'GET /rewards' WHERE id = {entry}",
        "INSERT INTO transparency_queue (source, id) VALUES ('audit', {entry})",
    ];
    run(&app, &again.map(|sql| values.in_sql(&app, sql))).await;
    append(&app).await;
    let (report, expected) = (
        verify(&app, None).await,
        values.in_text("audit-entry {entry}: the row was changed"),
    );
    assert_eq!(report.findings, [expected]);
}

#[apply(on_both_engines)]
async fn a_grant_that_is_added_by_hand_has_no_good_signature(app: TestApp) {
    history(&app).await;
    append(&app).await;
    let values = Values::of(&app).await;
    let add = [
        "INSERT INTO reward_requests (id, event_id, event_revision, user_id, plugin_digest, status, period, slot, reasons, \
            progress, received_at, decided_at, receipt, receipt_salt, receipt_digest, receipt_path, receipt_key_id, \
            receipt_signature) \
            SELECT {new}, event_id, event_revision, user_id, plugin_digest, status, 'forged', slot, reasons, progress, \
            received_at, decided_at, receipt, receipt_salt, receipt_salt, receipt_path, receipt_key_id, receipt_signature \
            FROM reward_requests WHERE id = {granted}",
        "INSERT INTO transparency_queue (source, id) VALUES ('request', {new})",
    ];
    run(&app, &add.map(|sql| values.in_sql(&app, sql))).await;
    append(&app).await;
    let (report, expected) = (
        verify(&app, None).await,
        values.in_text("claim-granted {new}: no trusted key signed the receipt"),
    );
    assert!(report.findings.contains(&expected), "{:#?}", report.findings);
}
