//! What all claims of a revision of an event have in common is stored once, and one signature serves a commit.

use std::collections::BTreeSet;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{proof, receipt_of};
use crate::support::{Background, TestApp, on_both_engines, text, with};

async fn stored_terms(app: &TestApp) -> i64 {
    app.count("SELECT COUNT(*) FROM receipt_terms").await
}

#[apply(on_both_engines)]
async fn claims_under_one_revision_share_their_terms(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let terms = async |event: &Value| {
        let user = app.user(Role::User).await;
        let receipt = receipt_of(&app, &user, event).await;
        text(&receipt["receipt"], "terms").to_owned()
    };
    let first = terms(&event).await;
    assert_eq!(terms(&event).await, first);
    assert_eq!(stored_terms(&app).await, 1);

    // Another process stores nothing new for the same revision.
    let replica = app.replica(&[]);
    let receipt = receipt_of(&replica, &app.user(Role::User).await, &event).await;
    assert_eq!(text(&receipt["receipt"], "terms"), first);
    assert_eq!(stored_terms(&app).await, 1);

    // A changed reward is another offer, although the event is the same.
    let path = format!("/rewards/{}", event["rewardIds"][0].as_str().expect("an id"));
    let reward = app.read(&path).await;
    let change = json!({"type": reward["type"], "itemId": "sku-other", "duration": "P7D"});
    app.put(&path)
        .bearer(&app.operator().await)
        .header("If-Match", "\"1\"")
        .json(&change)
        .send()
        .await
        .expect(200);
    let user = app.user(Role::User).await;
    let receipt = receipt_of(&app, &user, &event).await;
    assert_ne!(text(&receipt["receipt"], "terms"), first);
    assert_eq!(
        receipt["receipt"]["awards"],
        json!([{
            "rewardId": reward["id"], "revision": 2, "quantity": 1, "itemId": "sku-other", "duration": "P7D",
        }])
    );
    assert_eq!(stored_terms(&app).await, 2);
}

/// A user has no place in what all users share.
#[apply(on_both_engines)]
async fn terms_contain_nothing_about_the_user(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 1}), json!({})).await;
    let user = app.user(Role::User).await;
    let signed = receipt_of(&app, &user, &event).await;
    let terms = signed["terms"].to_string();
    for personal in [user.id.as_str(), &user.email, text(&signed["receipt"], "requestId")] {
        assert!(!terms.contains(personal), "{personal} is in {terms}");
    }
}

#[apply(on_both_engines)]
async fn one_signature_serves_the_claims_of_a_commit(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({"respondAsync": true})).await;
    let mut requests = Vec::new();
    for _ in 0..5 {
        let user = app.user(Role::User).await;
        let pending = app.claim(&user.token, &event).send().await.expect(202);
        requests.push(text(&pending, "id").to_owned());
    }
    let claims = app.app.claims.clone();
    let working = Background::start(&app.clock, move || claims.worker());
    while app.count("SELECT COUNT(*) FROM pending_claims").await > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    working.stop().await;
    let (mut values, mut indices) = (BTreeSet::new(), BTreeSet::new());
    for request in &requests {
        let signed = app.read(&format!("/reward-requests/{request}/receipt")).await;
        proof(&signed).verify(None).expect("a true receipt");
        let signature = &signed["signature"];
        assert_eq!(signature["treeSize"], 5);
        values.insert(text(signature, "value").to_owned());
        indices.insert(signature["leafIndex"].as_u64().expect("an index"));
        // No path leads from another receipt to the same root.
        let moved = with(
            signature.clone(),
            json!({"leafIndex": 4 - signature["leafIndex"].as_u64().unwrap_or(0)}),
        );
        let moved = with(signed.clone(), json!({"signature": moved}));
        if moved["signature"] != *signature {
            assert!(proof(&moved).verify(None).is_err());
        }
    }
    assert_eq!((values.len(), indices), (1, (0..5).collect()));
}
