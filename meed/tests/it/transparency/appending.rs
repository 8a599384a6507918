//! What is appended, by which process, and what stays good

use std::time::Duration;

use meed_host::auth::Role;
use meed_host::db::{Db, Json};
use meed_host::transparency::enqueue;
use rstest_reuse::apply;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{append, assert_good, checkpoint, history, verify};
use crate::support::{TestApp, each, on_both_engines, text};

/// The number of leaves of each kind.
async fn kinds(app: &TestApp) -> Vec<(String, i64)> {
    const SQL: &str = "SELECT kind, COUNT(*) FROM transparency_leaves GROUP BY kind ORDER BY kind";
    app.app.db.query(SQL).fetch_all(&app.app.db).await.expect("leaves")
}

async fn queued(app: &TestApp) -> i64 {
    app.count("SELECT COUNT(*) FROM transparency_queue").await
}

#[apply(on_both_engines)]
async fn every_decision_reversal_and_audit_entry_has_a_leaf(app: TestApp) {
    history(&app).await;
    let entries = app.count("SELECT COUNT(*) FROM audit_log").await;
    append(&app).await;
    assert_eq!(queued(&app).await, 0);
    let expected = [
        ("audit-entry", entries),
        ("claim-granted", 4),
        // The reviews of the others came before their first leaf.
        ("claim-held", 1),
        ("claim-refused", 3),
        ("reversal", 1),
    ];
    assert_eq!(
        kinds(&app).await,
        expected.map(|(kind, count)| (kind.to_owned(), count))
    );
    let report = verify(&app, None).await;
    assert_good(&report);
    assert_eq!(
        (report.leaves, report.covered, report.checkpoints),
        (entries.unsigned_abs() + 9, entries.unsigned_abs() + 9, 1)
    );
    assert_eq!((report.intact, report.waiting), (report.leaves, 0));
}

#[apply(on_both_engines)]
async fn a_held_claim_keeps_its_leaf_and_gets_another_by_its_review(app: TestApp) {
    let history = history(&app).await;
    append(&app).await;
    let held = app.read("/reward-requests?status=HELD").await["items"][0].clone();
    let path = format!("/reward-requests/{}/approval", text(&held, "id"));
    let token = app.operator().await;
    let approve = app.post(&path).bearer(&token).json(&json!({"reason": "Fine"}));
    approve.send().await.expect(200);
    let waiting = verify(&app, None).await;
    assert_good(&waiting);
    append(&app).await;
    let of_held = kinds(&app)
        .await
        .into_iter()
        .filter(|(kind, _)| kind.starts_with("claim-"));
    assert_eq!(
        of_held.collect::<Vec<_>>(),
        [("claim-granted", 5), ("claim-held", 1), ("claim-refused", 3)].map(|(kind, count)| (kind.to_owned(), count))
    );
    assert_good(&verify(&app, None).await);
    assert_eq!(history.granted["status"], "GRANTED");
}

#[apply(on_both_engines)]
async fn a_row_that_commits_late_is_appended_then(app: TestApp) {
    let Db::Postgres { .. } = app.app.db else { return };
    let ids = [app.clock.new_id(), app.clock.new_id()];
    let (early, late) = (ids[0].min(ids[1]), ids[0].max(ids[1]));
    let mut slow = app.begin().await;
    enqueue(&mut slow, "request", early)
        .await
        .expect("a place in the queue");
    let mut fast = app.begin().await;
    enqueue(&mut fast, "request", late).await.expect("a place in the queue");
    fast.commit().await.expect("a commit");
    append(&app).await;
    slow.commit().await.expect("a commit");
    assert_eq!(queued(&app).await, 1);
    append(&app).await;
    assert_eq!(queued(&app).await, 0);
}

#[apply(on_both_engines)]
async fn replicas_append_each_row_once(app: TestApp) {
    history(&app).await;
    let replicas = [app.replica(&[]), app.replica(&[]), app.replica(&[])];
    let (first, second, third) = (
        &replicas[0].app.sequencer,
        &replicas[1].app.sequencer,
        &replicas[2].app.sequencer,
    );
    let appended = tokio::join!(first.append_all(), second.append_all(), third.append_all());
    let appended = [appended.0, appended.1, appended.2].map(|appended| appended.expect("no conflict"));
    assert!(appended.contains(&true), "{appended:?}");
    append(&app).await;
    let report = verify(&app, None).await;
    assert_good(&report);
    assert_eq!(report.waiting, 0);
}

#[apply(on_both_engines)]
async fn one_process_at_a_time_has_the_lease(app: TestApp) {
    const TAKE: &str = "UPDATE transparency_log SET fence = fence + 1, lease_until = $1";
    append(&app).await;
    let mut tx = app.begin().await;
    let until = app.clock.now().plus(Duration::from_secs(3));
    tx.query(TAKE).bind(until).execute(&mut tx).await.expect("a lease");
    tx.commit().await.expect("a commit");
    history(&app).await;
    let before = queued(&app).await;
    assert!(!app.app.sequencer.append_all().await.expect("no error"));
    assert_eq!(queued(&app).await, before);
    app.clock.set(until.plus(Duration::from_secs(1)));
    append(&app).await;
    assert_eq!(queued(&app).await, 0);
}

#[apply(on_both_engines)]
async fn many_rows_are_appended_in_steps(app: TestApp) {
    for _ in 0..700 {
        let mut tx = app.begin().await;
        let removed = meed_host::transparency::removed(&mut tx, &app.clock, "audit-entry", Uuid::nil());
        removed.await.expect("a record");
        tx.commit().await.expect("a commit");
    }
    append(&app).await;
    let report = verify(&app, None).await;
    assert_good(&report);
    assert!(report.leaves >= 700, "{report:?}");
    assert_eq!(report.checkpoints, 1);
}

#[apply(on_both_engines)]
async fn retention_explains_what_it_deleted(app: TestApp) {
    history(&app).await;
    append(&app).await;
    app.at("2026-08-01T12:00:00Z");
    let limited = app.replica(&[("audit.retention_days", "30")]);
    let refusals = limited.app.claims.prune().await.expect("a step");
    let entries = limited.app.audit.sweep().await.expect("a sweep");
    assert!(refusals >= 3 && entries > 3, "{refusals} refusals, {entries} entries");
    // Also before the record of the retention has its leaf.
    assert_good(&verify(&app, None).await);
    append(&app).await;
    let report = verify(&app, None).await;
    assert_good(&report);
    assert_eq!(report.removed, refusals + entries);
    let ages: Vec<(&str, i64)> = report
        .retention
        .iter()
        .map(|(kind, found)| (kind.as_str(), found.youngest_days))
        .collect();
    assert_eq!(ages, [("audit-entry", 30), ("claim-refused", 90)]);
}

#[apply(on_both_engines)]
async fn an_erased_user_leaves_the_log_whole(app: TestApp) {
    let history = history(&app).await;
    append(&app).await;
    let leaves = "SELECT COUNT(*) FROM transparency_leaves WHERE kind <> 'erasure' AND kind <> 'audit-entry'";
    let before = app.count(leaves).await;
    let admin = app.token(Role::Admin).await;
    app.delete(&format!("/users/{}", history.user.id))
        .bearer(&admin)
        .send()
        .await
        .expect(202);
    app.at("2026-04-15T12:00:00Z");
    for _ in 0..3 {
        app.app.claims.expire_held().await.expect("a step");
        app.app.erasures.run().await.expect("a step");
        app.clock.set(app.clock.now().plus(Duration::from_mins(2)));
    }
    assert_good(&verify(&app, None).await);
    append(&app).await;
    let report = verify(&app, None).await;
    assert_good(&report);
    // The held claim of another user was rejected meanwhile.
    assert_eq!(app.count(leaves).await, before + 1);
    // Granted, rejected and approved.
    assert_eq!(report.erased, 3);
    let erasures = kinds(&app).await.into_iter().find(|(kind, _)| kind == "erasure");
    assert_eq!(erasures, Some(("erasure".to_owned(), 1)));
}

#[apply(on_both_engines)]
async fn a_checkpoint_is_told_by_the_outbox_and_old_ones_are_thinned(app: TestApp) {
    const MESSAGES: &str = "SELECT payload FROM outbox WHERE kind = 'audit.checkpoint' ORDER BY id";
    for day in ["02", "03"] {
        for hour in ["01", "02", "03"] {
            app.at(&format!("2026-03-{day}T{hour}:00:00Z"));
            app.reward(json!({"type": "POINT"})).await;
            append(&app).await;
        }
    }
    // Nothing new, no checkpoint.
    append(&app).await;
    let messages: Vec<(Json<Value>,)> = app
        .app
        .db
        .query(MESSAGES)
        .fetch_all(&app.app.db)
        .await
        .expect("messages");
    let stored = app.read("/audit/checkpoints").await["items"].clone();
    assert_eq!(stored.as_array().map(Vec::len), Some(6));
    let (told, stored) = (&messages.last().expect("a message").0.0, &stored[0]);
    assert_eq!(messages.len(), 6);
    assert_eq!(
        (&told["size"], &told["checkpoint"], &told["createdAt"]),
        (&stored["size"], &stored["checkpoint"], &stored["createdAt"])
    );
    assert_eq!(told["rootHash"], hex::encode(checkpoint(stored).root));
    app.at("2026-05-01T00:00:00Z");
    app.reward(json!({"type": "POINT"})).await;
    append(&app).await;
    let kept = app.read("/audit/checkpoints").await;
    let days: Vec<&str> = each(&kept["items"], "createdAt");
    assert_eq!(
        days,
        [
            "2026-05-01T00:00:00.000Z",
            "2026-03-03T01:00:00.000Z",
            "2026-03-02T01:00:00.000Z"
        ]
    );
    assert_good(&verify(&app, None).await);
}
