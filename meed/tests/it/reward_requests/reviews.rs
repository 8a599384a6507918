//! `/reward-requests/{id}/approval` and `/denial`: a person decides a held claim, once

use meed_host::auth::Role;
use meed_host::claims::{Proof, Replay, replay};
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::held::{held, path, reviewed_event};
use crate::support::{Reply, TestApp, TestUser, assert_fault, each, on_both_engines, reviewing, text};

async fn decide_as(app: &TestApp, token: &str, request: &Value, decision: &str, reason: &str) -> Reply {
    let call = app.post(&format!("{}/{decision}", path(request))).bearer(token);
    call.json(&json!({"reason": reason})).send().await
}

async fn approve(app: &TestApp, request: &Value) -> Reply {
    decide_as(app, &app.operator().await, request, "approval", "A school class").await
}

async fn deny(app: &TestApp, request: &Value) -> Reply {
    decide_as(app, &app.operator().await, request, "denial", "Made-up friends").await
}

/// Verifies the receipt and runs it again. Returns its content.
async fn matching_receipt(app: &TestApp, request: &Value) -> Value {
    let signed = app.read(&format!("{}/receipt", path(request))).await;
    let fuel = signed["receipt"]["evaluation"]["fuel"].as_u64().expect("fuel");
    let proof = Proof::parse(signed.to_string().as_bytes()).expect("a receipt");
    let module = Some(reviewing("reviewed").module());
    let replayed = replay(&app.app.sandbox, &proof, module, None).await.expect("a verdict");
    assert_eq!(replayed, Replay::Match { fuel });
    let decision = &signed["receipt"]["evaluation"]["outcome"]["decision"];
    assert_eq!(decision["outcome"], "needsReview");
    signed["receipt"].clone()
}

async fn message(app: &TestApp, kind: &'static str) -> Vec<Value> {
    let rows: Vec<(meed_host::db::Json<Value>,)> = app
        .app
        .db
        .query("SELECT payload FROM outbox WHERE kind = $1")
        .bind(kind.to_owned())
        .fetch_all(&app.app.db)
        .await
        .expect("the outbox");
    rows.into_iter().map(|(payload,)| payload.0).collect()
}

async fn disable(app: &TestApp, user: &TestUser) {
    let admin = app.token(Role::Admin).await;
    let call = app.patch(&format!("/users/{}", user.id)).bearer(&admin);
    call.json(&json!({"disabled": true})).send().await.expect(200);
}

#[apply(on_both_engines)]
async fn an_approved_claim_is_granted_once(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 5, "value": 100})).await;
    let budget = json!({"period": "DAILY", "grants": 9, "amount": 1000});
    let event = reviewed_event(&app, json!({"rewardIds": [reward["id"]], "budget": budget})).await;
    let user = app.user(Role::User).await;
    let request = held(&app, &user, &event).await;
    let held_receipt = matching_receipt(&app, &request).await;
    assert_eq!(
        (text(&held_receipt, "status"), held_receipt.get("review")),
        ("HELD", None)
    );

    app.at("2026-03-03T09:00:00Z");
    let approved = approve(&app, &request).await.expect(200);
    let operator = app.read("/users/me").await;
    let review = json!({
        "requestId": request["id"], "outcome": "APPROVED", "reason": "A school class", "reviewedBy": operator["id"],
        "reviewedAt": "2026-03-03T09:00:00.000Z", "heldAt": "2026-03-01T12:00:00.000Z",
    });
    assert_eq!(
        approved,
        json!({
            "id": request["id"], "eventId": event["id"], "eventRevision": 1, "userId": user.id, "status": "GRANTED",
            "retryable": false, "reasons": [request["reasons"][1]], "progress": [], "retryAt": null, "period": "once",
            "grants": [{
                "id": approved["grants"][0]["id"], "rewardId": reward["id"], "quantity": 1,
                "reward": {"type": "ITEM", "itemId": null, "value": 100, "duration": null, "revision": 1},
                "fulfilment": {"state": "PENDING"},
            }],
            "review": review, "receivedAt": "2026-03-01T12:00:00.000Z", "decidedAt": "2026-03-03T09:00:00.000Z",
            "pluginDigest": event["condition"]["digest"],
        })
    );
    let receipt = matching_receipt(&app, &request).await;
    assert_eq!((text(&receipt, "status"), &receipt["review"]), ("GRANTED", &review));
    assert_eq!(receipt["evaluation"], held_receipt["evaluation"]);
    assert_eq!(receipt["awards"][0]["rewardId"], reward["id"]);
    let reward = app.read(&format!("/rewards/{}", text(&reward, "id"))).await;
    assert_eq!(reward["stockRemaining"], 4);
    // The budget of the day of its arrival.
    let budget = app.read(&format!("/events/{}/budget", text(&event, "id"))).await;
    assert_eq!(
        budget["periods"],
        json!([
            {"period": "2026-03-03", "grants": 0, "amount": 0}, {"period": "2026-03-01", "grants": 1, "amount": 100},
        ])
    );
    let told = message(&app, "reward.granted").await;
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["requestId"], &told[0]["grants"]),
        (&request["id"], &approved["grants"])
    );

    // The same approval again changes nothing; any other review is refused.
    assert_eq!(approve(&app, &request).await.expect(200), approved);
    let problem = deny(&app, &request).await.expect_problem(409, "already-reviewed");
    assert_eq!(problem["outcome"], "APPROVED");
    let token = app.log_in(&user).await;
    let again = app.claim(&token, &event).send().await;
    assert_eq!(
        again.expect_problem(409, "already-granted")["rewardRequestId"],
        request["id"]
    );
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 1);
    // It can be reversed like any other grant.
    let reversal = app
        .post(&format!("{}/reversal", path(&request)))
        .bearer(&app.operator().await);
    let reversal = reversal.json(&json!({"reason": "A mistake"})).send().await;
    reversal.expect(201);
    let reversed = app.read(&path(&request)).await;
    assert_eq!((text(&reversed, "status"), &reversed["review"]), ("REVERSED", &review));
}

#[apply(on_both_engines)]
async fn a_denied_claim_is_rejected(app: TestApp) {
    let event = reviewed_event(&app, json!({})).await;
    let user = app.user(Role::User).await;
    let request = held(&app, &user, &event).await;
    let denied = deny(&app, &request).await.expect(200);
    assert_eq!(
        (text(&denied, "status"), &denied["retryable"]),
        ("REJECTED", &json!(true))
    );
    assert_eq!(
        denied["reasons"],
        json!([
            {
                "source": "HOST", "code": "review-denied", "message": "A review denied your claim: Made-up friends",
                "args": {"reason": "Made-up friends"},
            },
            request["reasons"][1],
        ])
    );
    assert_eq!(text(&denied["review"], "outcome"), "DENIED");
    assert_eq!(denied["grants"], json!([]));
    let receipt = matching_receipt(&app, &request).await;
    assert_eq!(
        (&receipt["review"], &receipt["awards"]),
        (&denied["review"], &json!([]))
    );
    assert_eq!(
        message(&app, "claim.denied").await,
        [json!({
            "requestId": request["id"], "eventId": event["id"], "userId": user.id, "outcome": "DENIED",
            "reason": "Made-up friends", "deniedAt": denied["decidedAt"],
        })]
    );
    assert_eq!(deny(&app, &request).await.expect(200), denied);
    let problem = approve(&app, &request).await.expect_problem(409, "already-reviewed");
    assert_eq!(problem["outcome"], "DENIED");
}

#[apply(on_both_engines)]
async fn a_denial_stands_for_some_time(app: TestApp) {
    let event = reviewed_event(&app, json!({"recurrence": {"period": "DAILY", "count": 1}})).await;
    let user = app.user(Role::User).await;
    let request = held(&app, &user, &event).await;
    let denied = deny(&app, &request).await.expect(200);
    let until = text(&denied, "retryAt");
    app.at("2026-03-02T12:00:00Z");
    let token = app.log_in(&user).await;
    // People do not review it again, however often the user claims.
    let again = app.claim(&token, &event).send().await.expect(201);
    assert_eq!(
        (text(&again, "status"), &again["reasons"], text(&again, "retryAt")),
        ("REJECTED", &denied["reasons"], until)
    );
    assert_eq!(app.claim(&token, &event).send().await.expect(200), again);
    let receipt = matching_receipt(&app, &again).await;
    assert_eq!(receipt["review"], denied["review"]);
    assert_ne!(again["id"], request["id"]);
    assert_eq!(app.read("/reward-requests?status=HELD").await["items"], json!([]));
    // Later they do.
    app.at(until);
    let user = TestUser {
        token: app.log_in(&user).await,
        ..user
    };
    held(&app, &user, &event).await;
}

#[apply(on_both_engines)]
async fn a_claim_that_is_not_reviewed_in_time_is_rejected(app: TestApp) {
    let event = reviewed_event(&app, json!({})).await;
    let users = app.crowd(2).await;
    let request = held(&app, &users[0], &event).await;
    app.at("2026-03-15T11:59:59.999Z");
    let later = TestUser {
        token: app.log_in(&users[1]).await,
        ..users[1].clone()
    };
    let later = held(&app, &later, &event).await;
    assert_eq!(app.app.claims.expire_held().await.expect("a step"), 0);
    app.at("2026-03-15T12:00:00Z");
    assert_eq!(app.app.claims.expire_held().await.expect("a step"), 1);
    assert_eq!(app.app.claims.expire_held().await.expect("a step"), 0);
    let expired = app.read(&path(&request)).await;
    assert_eq!(
        (text(&expired, "status"), each(&expired["reasons"], "code")),
        ("REJECTED", vec!["review-expired", "large-amount"])
    );
    assert_eq!(
        expired["review"],
        json!({
            "requestId": request["id"], "outcome": "EXPIRED", "reason": null, "reviewedBy": null,
            "reviewedAt": "2026-03-15T12:00:00.000Z", "heldAt": "2026-03-01T12:00:00.000Z",
        })
    );
    matching_receipt(&app, &request).await;
    assert_eq!(message(&app, "claim.denied").await[0]["outcome"], "EXPIRED");
    assert_eq!(app.read(&path(&later)).await["status"], "HELD");
    let problem = approve(&app, &request).await.expect_problem(409, "already-reviewed");
    assert_eq!(problem["outcome"], "EXPIRED");
    // The user may claim again, and this claim is held.
    let user = TestUser {
        token: app.log_in(&users[0]).await,
        ..users[0].clone()
    };
    held(&app, &user, &event).await;
}

#[apply(on_both_engines)]
async fn many_claims_expire_in_one_run_after_the_days_of_the_setting(app: TestApp) {
    let short = app.replica(&[("claims.review_days", "1")]);
    let event = reviewed_event(&app, json!({})).await;
    for user in &app.crowd(103).await {
        let request = held(&short, user, &event).await;
        assert_eq!(request["retryAt"], "2026-03-02T12:00:00.000Z");
    }
    app.at("2026-03-02T11:59:59.999Z");
    assert_eq!(short.app.claims.expire_held().await.expect("a run"), 0);
    app.at("2026-03-02T12:00:00Z");
    assert_eq!(short.app.claims.expire_held().await.expect("a run"), 103);
    assert_eq!(app.read("/reward-requests?status=HELD").await["items"], json!([]));
}

#[apply(on_both_engines)]
async fn a_deleted_reward_is_not_granted(app: TestApp) {
    let event = reviewed_event(&app, json!({})).await;
    let user = app.user(Role::User).await;
    let request = held(&app, &user, &event).await;
    let other = app.reward(json!({"type": "OTHER"})).await;
    let changed = app.change_event(&event, json!({"rewardIds": [other["id"]]})).await;
    changed.expect(200);
    let delete = app.delete(&format!("/rewards/{}", event["rewardIds"][0].as_str().expect("an id")));
    delete.bearer(&app.operator().await).send().await.expect(204);
    let problem = approve(&app, &request).await.expect_problem(409, "not-grantable");
    assert_eq!(problem["cause"], "reward-deleted");
    deny(&app, &request).await.expect(200);
}

#[apply(on_both_engines)]
async fn the_executable_verifies_a_reviewed_receipt(app: TestApp) {
    let event = reviewed_event(&app, json!({})).await;
    let user = app.user(Role::User).await;
    let request = held(&app, &user, &event).await;
    approve(&app, &request).await.expect(200);
    let signed = app.read(&format!("{}/receipt", path(&request))).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("receipt.json"), signed.to_string()).expect("a file");
    std::fs::write(file("rule.wasm"), reviewing("reviewed").module()).expect("a file");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_meed"))
        .args(["replay", "receipt.json", "--plugin", "rule.wasm"])
        .current_dir(directory.path())
        .output()
        .expect("the command starts");
    let printed = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    assert_eq!(output.status.code(), Some(0), "{printed}");
    for shown in [
        "GRANTED",
        "review     APPROVED at",
        "reason     \"A school class\"",
        "MATCH",
    ] {
        assert!(printed.contains(shown), "{shown} is not in {printed}");
    }
}

#[apply(on_both_engines)]
async fn an_approval_beyond_stock_or_budget_leaves_the_claim_held(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 1})).await;
    let event = reviewed_event(&app, json!({"rewardIds": [reward["id"]]})).await;
    let poor = reviewed_event(&app, json!({"budget": {"period": "ONCE", "grants": 1}})).await;
    let users = app.crowd(2).await;
    for (event, cause) in [(&event, "sold-out"), (&poor, "budget-spent")] {
        let (first, second) = (held(&app, &users[0], event).await, held(&app, &users[1], event).await);
        approve(&app, &first).await.expect(200);
        let problem = approve(&app, &second).await.expect_problem(409, "not-grantable");
        assert_eq!(problem["cause"], cause);
        assert_eq!(app.read(&path(&second)).await, second);
        matching_receipt(&app, &second).await;
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 2);
    assert_eq!(message(&app, "reward.granted").await.len(), 2);
    // With more stock it succeeds.
    let reward = app.read(&format!("/rewards/{}", text(&reward, "id"))).await;
    let call = app
        .put(&format!("/rewards/{}", text(&reward, "id")))
        .bearer(&app.operator().await);
    let call = call.header("if-match", "*").json(&json!({"type": "ITEM", "stock": 2}));
    call.send().await.expect(200);
    let list = app
        .read(&format!("/reward-requests?status=HELD&eventId={}", text(&event, "id")))
        .await;
    approve(&app, &list["items"][0]).await.expect(200);
}

#[apply(on_both_engines)]
async fn an_approval_needs_an_active_event_and_user(app: TestApp) {
    let users = app.crowd(3).await;
    let event = reviewed_event(&app, json!({})).await;
    let gone = reviewed_event(&app, json!({})).await;
    let request = held(&app, &users[0], &event).await;
    let of_disabled = held(&app, &users[1], &event).await;
    let orphaned = held(&app, &users[2], &gone).await;
    let refused = async |request: &Value, cause: &str| {
        let problem = approve(&app, request).await.expect_problem(409, "not-grantable");
        assert_eq!(problem["cause"], cause);
        assert_eq!(app.read(&path(request)).await["status"], "HELD");
    };
    disable(&app, &users[1]).await;
    refused(&of_disabled, "account-disabled").await;
    let delete = app.delete(&format!("/events/{}", text(&gone, "id")));
    delete.bearer(&app.operator().await).send().await.expect(204);
    refused(&orphaned, "event-deleted").await;
    let paused = app.change_event(&event, json!({"isActive": false})).await.expect(200);
    refused(&request, "event-inactive").await;
    // They can be denied, and they expire.
    deny(&app, &of_disabled).await.expect(200);
    app.at("2026-03-15T12:00:00Z");
    let resumed = app.change_event(&paused, json!({"isActive": true})).await.expect(200);
    // Under the terms of its decision: what the event offers now does not matter, nor does its end.
    let other = app.reward(json!({"type": "OTHER"})).await;
    let changes = json!({"rewardIds": [other["id"]], "title": "Another title", "endDate": "2026-03-16T00:00:00Z"});
    app.change_event(&resumed, changes).await.expect(200);
    app.at("2026-03-20T12:00:00Z");
    let approved = approve(&app, &request).await.expect(200);
    assert_eq!(
        (&approved["grants"][0]["rewardId"], &approved["eventRevision"]),
        (&event["rewardIds"][0], &json!(1))
    );
    matching_receipt(&app, &request).await;
    assert_eq!(app.app.claims.expire_held().await.expect("a step"), 1);
    assert_eq!(
        each(&app.read(&path(&orphaned)).await["reasons"], "code"),
        ["review-expired", "large-amount"]
    );
}

#[apply(on_both_engines)]
async fn of_concurrent_reviews_one_succeeds(app: TestApp) {
    let replica = app.replica(&[]);
    let reward = app.reward(json!({"type": "ITEM", "stock": 10})).await;
    let event = reviewed_event(&app, json!({"rewardIds": [reward["id"]]})).await;
    let user = app.user(Role::User).await;
    let request = held(&app, &user, &event).await;
    let operators = [app.token(Role::Operator).await, app.token(Role::Admin).await];
    let mut calls = Vec::new();
    for number in 0..16 {
        let process = [&app, &replica][number % 2];
        let decision = ["approval", "denial"][number / 8];
        let call = process.post(&format!("{}/{decision}", path(&request)));
        let body = json!({"reason": format!("Number {number}")});
        calls.push(tokio::spawn(call.bearer(&operators[number % 2]).json(&body).send()));
    }
    let (mut winners, mut losers) = (Vec::new(), Vec::new());
    for call in calls {
        let reply = call.await.expect("an answer");
        if reply.status == 200 {
            winners.push(reply.json);
        } else {
            losers.push(reply.expect_problem(409, "already-reviewed"));
        }
    }
    assert_eq!((winners.len(), losers.len()), (1, 15));
    for problem in losers {
        assert_eq!(problem["outcome"], winners[0]["review"]["outcome"]);
    }
    assert_eq!(app.read(&path(&request)).await, winners[0]);
    let granted = i64::from(winners[0]["status"] == "GRANTED");
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, granted);
    let reward = app.read(&format!("/rewards/{}", text(&reward, "id"))).await;
    assert_eq!(reward["stockRemaining"], 10 - granted);
    matching_receipt(&app, &request).await;
}

#[apply(on_both_engines)]
async fn concurrent_approvals_never_exceed_the_stock(app: TestApp) {
    let replica = app.replica(&[]);
    let reward = app.reward(json!({"type": "ITEM", "stock": 3})).await;
    let event = reviewed_event(&app, json!({"rewardIds": [reward["id"]]})).await;
    let operator = app.operator().await;
    let mut calls = Vec::new();
    for (number, user) in app.crowd(8).await.iter().enumerate() {
        let request = held(&app, user, &event).await;
        let process = [&app, &replica][number % 2];
        let call = process.post(&format!("{}/approval", path(&request)));
        calls.push(call.bearer(&operator).json(&json!({"reason": "Fine"})));
    }
    let calls: Vec<_> = calls.into_iter().map(|call| tokio::spawn(call.send())).collect();
    let mut approved = 0;
    for call in calls {
        let reply = call.await.expect("an answer");
        if reply.status == 200 {
            approved += 1;
        } else {
            assert_eq!(reply.expect_problem(409, "not-grantable")["cause"], "sold-out");
        }
    }
    assert_eq!((approved, app.count("SELECT COUNT(*) FROM grants").await), (3, 3));
}

#[apply(on_both_engines)]
async fn only_staff_reviews_and_never_their_own_claim(app: TestApp) {
    let event = reviewed_event(&app, json!({})).await;
    let (user, other) = (app.user(Role::User).await, app.user(Role::User).await);
    let request = held(&app, &user, &event).await;
    let auditor = app.token(Role::Auditor).await;
    for token in [&user.token, &other.token, &auditor] {
        for decision in ["approval", "denial"] {
            let reply = decide_as(&app, token, &request, decision, "Please").await;
            reply.expect_problem(403, "forbidden");
        }
    }
    // A user who became an operator after the claim.
    let admin = app.token(Role::Admin).await;
    let promote = app.patch(&format!("/users/{}", user.id)).bearer(&admin);
    promote.json(&json!({"role": "OPERATOR"})).send().await.expect(200);
    let token = app.log_in(&user).await;
    for decision in ["approval", "denial"] {
        let reply = decide_as(&app, &token, &request, decision, "Please").await;
        reply.expect_problem(403, "forbidden");
    }
    assert_eq!(app.read(&path(&request)).await, request);
}

#[apply(on_both_engines)]
async fn only_a_held_claim_can_be_reviewed_and_with_a_reason(app: TestApp) {
    let event = reviewed_event(&app, json!({})).await;
    let open = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let granted = app.claim(&user.token, &open).send().await.expect(201);
    let request = held(&app, &user, &event).await;
    let operator = app.operator().await;
    for decision in ["approval", "denial"] {
        let reply = decide_as(&app, &operator, &granted, decision, "Fine").await;
        reply.expect_problem(409, "not-held");
        let nothing = json!({"id": user.id});
        let reply = decide_as(&app, &operator, &nothing, decision, "Fine").await;
        reply.expect_problem(404, "no-such-reward-request");
        for reason in ["", "  ", &"x".repeat(501), "\u{202e}enif"] {
            assert_fault(decide_as(&app, &operator, &request, decision, reason).await, "/reason");
        }
    }
    let longest = "é".repeat(500);
    let denied = decide_as(&app, &operator, &request, "denial", &longest)
        .await
        .expect(200);
    assert_eq!(text(&denied["review"], "reason"), longest);
}

#[apply(on_both_engines)]
async fn a_review_is_in_the_audit_log(app: TestApp) {
    let event = reviewed_event(&app, json!({})).await;
    let user = app.user(Role::User).await;
    let request = held(&app, &user, &event).await;
    approve(&app, &request).await.expect(200);
    let auditor = app.token(Role::Auditor).await;
    let path = format!("/audit?target={}", text(&request, "id"));
    let entries = app.get(&path).bearer(&auditor).send().await.expect(200);
    let entry = &entries["items"][0];
    assert_eq!(text(entry, "action"), "POST /reward-requests/{id}/approval");
    assert_eq!(
        entry["changes"],
        json!({
            "status": {"old": "HELD", "new": "GRANTED"}, "reason": {"old": null, "new": "A school class"},
        })
    );
}
