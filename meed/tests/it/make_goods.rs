//! `/events/{id}/make-goods` and `/make-goods`

mod approval;
mod limits;

use meed_host::auth::Role;
use meed_host::claims::{Replay, replay};
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::receipts::proof;
use crate::support::{Reply, TestApp, TestUser, bundled, each, on_both_engines, text, with};

/// Points for those who bought for so much.
fn sum(amount: i64) -> Value {
    json!({"kind": "shop.purchase", "sum": amount})
}

/// A grant that the rule of the event refuses by now, before the clock moves.
pub async fn wrongly_granted(app: &TestApp) -> Value {
    app.install(bundled("activity-count")).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    assert_eq!(claim(app, &user, &event).await["status"], "GRANTED");
    mend(app, &event, sum(500)).await
}

/// Proposes to reverse it, after the clock has moved.
pub async fn proposed_for(app: &TestApp, event: &Value) {
    let author = app.user(Role::Operator).await;
    let make_good = proposed(app, &author, event).await;
    assert_eq!(make_good["counts"]["reversals"], 1, "{make_good:#}");
}

/// The rule was wrong; this is the right one.
async fn mend(app: &TestApp, event: &Value, params: Value) -> Value {
    let condition = json!({"plugin": "activity-count", "version": "1.0.0", "params": params});
    let event = app.read(&format!("/events/{}", text(event, "id"))).await;
    app.change_event(&event, json!({"condition": condition}))
        .await
        .expect(200)
}

/// A user who has bought for this amount.
async fn buyer(app: &TestApp, amount: i64) -> TestUser {
    let user = app.user(Role::User).await;
    purchase(app, &user, amount).await;
    user
}

/// A purchase of an hour ago.
async fn purchase(app: &TestApp, user: &TestUser, amount: i64) {
    let token = app.operator().await;
    let body = json!({
        "source": "shop", "id": format!("{}-{amount}", user.id), "userId": user.id, "kind": "shop.purchase",
        "occurredAt": "2026-03-02T11:00:00Z", "amount": amount,
    });
    app.post("/activities")
        .bearer(&token)
        .json(&body)
        .send()
        .await
        .expect(201);
}

async fn claim(app: &TestApp, user: &TestUser, event: &Value) -> Value {
    let token = app.log_in(user).await;
    app.claim(&token, event).send().await.expect(201)
}

async fn propose(app: &TestApp, by: &TestUser, event: &Value, changes: Value) -> Reply {
    let path = format!("/events/{}/make-goods", text(event, "id"));
    let body = with(json!({"title": "The sum was wrong"}), changes);
    app.post(&path).bearer(&by.token).json(&body).send().await
}

/// Proposes, and lets the background task look at all claims.
async fn proposed(app: &TestApp, by: &TestUser, event: &Value) -> Value {
    let make_good = propose(app, by, event, json!({})).await.expect(202);
    run(app).await;
    let make_good = read(app, &make_good).await;
    assert_eq!(make_good["state"], "PROPOSED", "{make_good:#}");
    make_good
}

async fn approve(app: &TestApp, by: &TestUser, make_good: &Value) -> Reply {
    let path = format!("/make-goods/{}/approval", text(make_good, "id"));
    let body = json!({"hash": make_good["hash"]});
    app.post(&path).bearer(&by.token).json(&body).send().await
}

/// Does everything that the background task does.
async fn run(app: &TestApp) {
    while app.app.make_goods.advance().await.expect("a step") {}
}

async fn read(app: &TestApp, make_good: &Value) -> Value {
    app.read(&format!("/make-goods/{}", text(make_good, "id"))).await
}

async fn entries(app: &TestApp, make_good: &Value) -> Vec<Value> {
    let list = app
        .read(&format!("/make-goods/{}/entries", text(make_good, "id")))
        .await;
    list["items"].as_array().expect("items").clone()
}

/// The statuses of a user's requests, sorted: a grant by a make-good is as old as its claim.
async fn statuses(app: &TestApp, user: &TestUser) -> Vec<String> {
    let list = app.read(&format!("/reward-requests?userId={}", user.id)).await;
    let mut statuses: Vec<String> = each(&list["items"], "status").into_iter().map(str::to_owned).collect();
    statuses.sort();
    statuses
}

#[apply(on_both_engines)]
async fn wrongly_refused_claims_are_granted_and_wrongly_granted_ones_reversed(app: TestApp) {
    app.at("2026-03-02T12:00:00Z");
    let event = app.event("activity-count", sum(500), json!({})).await;
    let (refused, rightly, granted) = (buyer(&app, 450).await, buyer(&app, 200).await, buyer(&app, 600).await);
    for user in [&refused, &rightly] {
        assert_eq!(claim(&app, user, &event).await["status"], "REJECTED");
    }
    assert_eq!(claim(&app, &granted, &event).await["status"], "GRANTED");
    let never = buyer(&app, 450).await;
    // A purchase of the time before the claim was cancelled since.
    app.at("2026-03-03T12:00:00Z");
    purchase(&app, &granted, -300).await;
    mend(&app, &event, sum(400)).await;

    let (author, approver) = (app.user(Role::Operator).await, app.user(Role::Operator).await);
    let make_good = proposed(&app, &author, &event).await;
    let counts = &make_good["counts"];
    assert_eq!(
        (&counts["claims"], &counts["grants"], &counts["reversals"]),
        (&json!(3), &json!(1), &json!(1)),
        "{counts:#}"
    );
    let found = entries(&app, &make_good).await;
    let of = |user: &TestUser| found.iter().find(|entry| entry["userId"] == user.id);
    let grant = of(&refused).expect("an entry");
    assert_eq!(
        (text(grant, "kind"), text(grant, "state"), &grant["reasonsNow"]),
        ("GRANT", "PENDING", &json!([]))
    );
    assert_eq!(grant["reasonsBefore"][0]["source"], "CONDITION");
    let reversal = of(&granted).expect("an entry");
    assert_eq!(text(reversal, "kind"), "REVERSE");
    assert_eq!(reversal["reasonsNow"][0]["source"], "CONDITION");
    // Rightly refused, and never asked.
    assert!(of(&rightly).is_none() && of(&never).is_none(), "{found:#?}");
    // Nothing happens before the approval.
    run(&app).await;
    assert_eq!(statuses(&app, &refused).await, ["REJECTED"]);

    approve(&app, &approver, &make_good).await.expect(200);
    run(&app).await;
    let applied = read(&app, &make_good).await;
    assert_eq!(
        (
            text(&applied, "state"),
            &applied["counts"]["applied"],
            &applied["counts"]["skipped"]
        ),
        ("APPLIED", &json!(2), &json!(0)),
        "{applied:#}"
    );
    assert_eq!(statuses(&app, &refused).await, ["GRANTED", "REJECTED"]);
    assert_eq!(statuses(&app, &granted).await, ["REVERSED"]);
    assert_eq!(statuses(&app, &rightly).await, ["REJECTED"]);

    let request = app.read(&format!("/reward-requests/{}", text(grant, "id"))).await;
    assert_eq!(request["makeGoodId"], make_good["id"]);
    let receipt = app
        .read(&format!("/reward-requests/{}/receipt", text(grant, "id")))
        .await;
    assert_eq!(receipt["receipt"]["makeGoodId"], make_good["id"], "{receipt:#}");
    let replayed = replay(
        &app.app.sandbox,
        &proof(&receipt),
        Some(bundled("activity-count")),
        None,
    )
    .await;
    assert!(matches!(replayed, Ok(Replay::Match { .. })), "{replayed:?}");

    // The same users cannot be made good again.
    let again = proposed(&app, &author, &event).await;
    assert_eq!(entries(&app, &again).await, Vec::<Value>::new());
}

#[apply(on_both_engines)]
async fn a_process_that_dies_grants_nothing_twice(app: TestApp) {
    app.at("2026-03-02T12:00:00Z");
    let event = app.event("activity-count", sum(500), json!({})).await;
    let user = buyer(&app, 450).await;
    claim(&app, &user, &event).await;
    app.at("2026-03-02T12:10:00Z");
    mend(&app, &event, sum(400)).await;
    let (author, approver) = (app.user(Role::Operator).await, app.user(Role::Operator).await);
    let make_good = proposed(&app, &author, &event).await;
    approve(&app, &approver, &make_good).await.expect(200);
    run(&app).await;
    // As a process leaves it that dies after the commit of the grant and before the note.
    let mut tx = app.begin().await;
    tx.query("UPDATE make_good_entries SET state = 'PENDING'")
        .execute(&mut tx)
        .await
        .expect("an update");
    tx.query("UPDATE make_goods SET state = 'APPLYING'")
        .execute(&mut tx)
        .await
        .expect("an update");
    tx.commit().await.expect("a commit");
    run(&app).await;
    assert_eq!(read(&app, &make_good).await["state"], "APPLIED");
    assert_eq!(statuses(&app, &user).await, ["GRANTED", "REJECTED"]);
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 1);
}

#[apply(on_both_engines)]
async fn only_claims_of_the_period_count(app: TestApp) {
    app.at("2026-03-02T12:00:00Z");
    let event = app.event("activity-count", sum(500), json!({})).await;
    let (inside, later) = (buyer(&app, 450).await, buyer(&app, 450).await);
    claim(&app, &inside, &event).await;
    app.at("2026-03-03T12:00:00Z");
    claim(&app, &later, &event).await;
    mend(&app, &event, sum(400)).await;
    let author = app.user(Role::Operator).await;
    let period = json!({"from": "2026-03-02T00:00:00Z", "to": "2026-03-03T00:00:00Z"});
    let make_good = propose(&app, &author, &event, period).await.expect(202);
    run(&app).await;
    let found = entries(&app, &make_good).await;
    let users: Vec<&str> = found.iter().map(|entry| text(entry, "userId")).collect();
    assert_eq!(users, [&inside.id]);
    for (from, to, pointer) in [
        ("2026-03-03T00:00:00Z", "2026-03-02T00:00:00Z", "/from"),
        ("2020-01-01T00:00:00Z", "2026-03-03T00:00:00Z", "/to"),
    ] {
        let refused = propose(&app, &author, &event, json!({"from": from, "to": to})).await;
        crate::support::assert_fault(refused, pointer);
    }
}
