//! Group commits: each claim gets its own answer, regardless of the others.

use std::time::Duration;

use meed_host::db::{Engine, Tx};
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, TestUser, on_both_engines, text};

/// Blocks every commit on this event until the transaction ends.
pub(super) async fn hold(app: &TestApp, event: &Value) -> Tx {
    let mut tx = app.begin().await;
    if tx.engine() == Engine::Postgres {
        let id: uuid::Uuid = text(event, "id").parse().expect("an id");
        let row: (i64,) = tx
            .query("SELECT revision FROM events WHERE id = $1 FOR UPDATE")
            .bind(id)
            .fetch_one(&mut tx)
            .await
            .expect("the event");
        assert_eq!(row, (1,));
    }
    tx
}

/// All users claim while commits are blocked, so that most claims are written in one group commit.
async fn claim_together(app: &TestApp, users: &[TestUser], event: &Value) -> Vec<Reply> {
    let held = hold(app, event).await;
    let claims: Vec<_> = users
        .iter()
        .map(|user| tokio::spawn(app.claim(&user.token, event).send()))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(held);
    let mut replies = Vec::new();
    for claim in claims {
        replies.push(claim.await.expect("an answer"));
    }
    replies
}

/// Makes every insert of a row of this user into `reward_requests` fail.
async fn refuse_rows_of(app: &TestApp, user: &TestUser) {
    const POSTGRES: [&str; 2] = [
        "CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN \
            IF NEW.user_id = (SELECT id FROM users WHERE email = 'refused@example.com') THEN \
                RAISE EXCEPTION 'refused'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON reward_requests FOR EACH ROW EXECUTE FUNCTION refuse()",
    ];
    const SQLITE: [&str; 1] = ["CREATE TRIGGER refuse BEFORE INSERT ON reward_requests \
        WHEN NEW.user_id = (SELECT id FROM users WHERE email = 'refused@example.com') \
        BEGIN SELECT RAISE(ABORT, 'refused'); END"];
    let mut tx = app.begin().await;
    let statements: &[&str] = match tx.engine() {
        Engine::Postgres => &POSTGRES,
        Engine::Sqlite => &SQLITE,
    };
    let id: uuid::Uuid = user.id.parse().expect("an id");
    tx.query("UPDATE users SET email = 'refused@example.com' WHERE id = $1")
        .bind(id)
        .execute(&mut tx)
        .await
        .expect("a new address");
    for statement in statements {
        tx.query(statement).execute(&mut tx).await.expect("a trigger");
    }
    tx.commit().await.expect("a commit");
}

#[apply(on_both_engines)]
async fn queued_claims_are_written_in_one_transaction(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let users = app.crowd(40).await;
    for reply in claim_together(&app, &users, &event).await {
        assert_eq!(reply.expect(201)["status"], "GRANTED");
    }
    if app.app.db.engine() == Engine::Postgres {
        let sets = app
            .count("SELECT COUNT(DISTINCT CAST(xmin AS TEXT)) FROM reward_requests")
            .await;
        assert!((1..=4).contains(&sets), "{sets} transactions for 40 claims");
    }
    assert_eq!(
        app.count("SELECT COUNT(*) FROM outbox WHERE kind = 'reward.granted'")
            .await,
        40
    );
}

#[apply(on_both_engines)]
async fn a_group_commit_beyond_the_stock_grants_all_of_it(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 10})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let users = app.crowd(40).await;
    let mut granted = 0;
    for reply in claim_together(&app, &users, &event).await {
        let request = reply.expect(201);
        if request["status"] == "GRANTED" {
            granted += 1;
        } else {
            assert_eq!(request["reasons"][0]["code"], "sold-out");
        }
    }
    assert_eq!(granted, 10);
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 10);
    assert_eq!(
        app.read(&format!("/rewards/{}", text(&reward, "id"))).await["stockRemaining"],
        0
    );
}

#[apply(on_both_engines)]
async fn a_claim_that_cannot_be_written_does_not_affect_others_in_its_group_commit(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 100})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let users = app.crowd(20).await;
    let spoiler = users[11].clone();
    refuse_rows_of(&app, &spoiler).await;
    for (reply, user) in claim_together(&app, &users, &event).await.into_iter().zip(&users) {
        if user.id == spoiler.id {
            reply.expect_problem(500, "internal");
        } else {
            assert_eq!(reply.expect(201)["status"], "GRANTED");
        }
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 19);
    assert_eq!(
        app.count("SELECT COUNT(*) FROM outbox WHERE kind = 'reward.granted'")
            .await,
        19
    );
    assert_eq!(
        app.read(&format!("/rewards/{}", text(&reward, "id"))).await["stockRemaining"],
        81
    );
}

#[apply(on_both_engines)]
async fn in_one_group_commit_a_user_is_granted_once_and_a_key_has_one_answer(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let users = app.crowd(10).await;
    let mut held = Some(hold(&app, &event).await);
    let mut claims = Vec::new();
    for user in &users {
        for copy in 0..4 {
            let claim = app.claim(&user.token, &event);
            // Two under one key, two without.
            let claim = if copy < 2 {
                claim.header("idempotency-key", "one")
            } else {
                claim
            };
            claims.push((user.id.clone(), tokio::spawn(claim.send())));
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    held.take();
    let mut granted = std::collections::BTreeMap::<String, Vec<Value>>::new();
    for (user, claim) in claims {
        let reply = claim.await.expect("an answer");
        if reply.status == 201 {
            granted.entry(user).or_default().push(reply.json);
        } else {
            reply.expect_problem(409, "already-granted");
        }
    }
    for user in &users {
        let mut ids: Vec<_> = granted[&user.id].iter().map(|request| text(request, "id")).collect();
        ids.dedup();
        assert_eq!(ids.len(), 1, "{ids:?}");
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 10);
    assert_eq!(
        app.count("SELECT COUNT(*) FROM reward_requests WHERE status = 'GRANTED'")
            .await,
        10
    );
}

#[apply(on_both_engines)]
async fn claims_are_decided_again_after_the_event_changes(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let users = app.crowd(20).await;
    let mut tx = hold(&app, &event).await;
    let claims: Vec<_> = users
        .iter()
        .map(|user| tokio::spawn(app.claim(&user.token, &event).send()))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let id: uuid::Uuid = text(&event, "id").parse().expect("an id");
    tx.query("UPDATE events SET is_active = FALSE, revision = 2 WHERE id = $1")
        .bind(id)
        .execute(&mut tx)
        .await
        .expect("a pause");
    tx.commit().await.expect("a commit");
    for claim in claims {
        let request = claim.await.expect("an answer").expect(201);
        assert_eq!(
            (&request["status"], &request["eventRevision"]),
            (&json!("REJECTED"), &json!(2))
        );
        assert_eq!(request["reasons"][0]["code"], "event-inactive");
    }
}
