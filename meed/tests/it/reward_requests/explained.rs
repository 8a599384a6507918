//! `GET /reward-requests/{id}/explanation` and `POST /events/{id}/explain`

use meed_host::auth::Role;
use meed_host::contract::{Outcome, Query, Selection, Subject, Window};
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::held::reviewed_event;
use crate::guests::Condition;
use crate::receipts::erased::erase;
use crate::service_keys::create;
use crate::support::{Reply, TestApp, TestUser, assert_fault, each, guest, on_both_engines, text, with};

async fn explain(app: &TestApp, token: &str, event: &Value, body: Value) -> Reply {
    let path = format!("/events/{}/explain", text(event, "id"));
    app.post(&path).bearer(token).json(&body).send().await
}

async fn explanation(app: &TestApp, token: &str, request: &Value) -> Reply {
    let path = format!("/reward-requests/{}/explanation", text(request, "id"));
    app.get(&path).bearer(token).send().await
}

/// A user with logins on the first five days of March.
async fn five_days(app: &TestApp) -> TestUser {
    let user = app.user(Role::User).await;
    for day in 2..=5 {
        app.at(&format!("2026-03-0{day}T03:00:00Z"));
        app.log_in(&user).await;
    }
    user
}

async fn purchase(app: &TestApp, user: &TestUser, id: &str, amount: i64) {
    let body = json!({"source": "shop", "id": id, "userId": user.id, "kind": "shop.purchase", "amount": amount});
    let operator = app.operator().await;
    app.post("/activities")
        .bearer(&operator)
        .json(&body)
        .send()
        .await
        .expect(201);
}

async fn attributes(app: &TestApp, user: &TestUser, attributes: Value) {
    let operator = app.operator().await;
    let path = format!("/users/{}/attributes", user.id);
    app.put(&path).bearer(&operator).json(&attributes).send().await;
}

#[apply(on_both_engines)]
async fn a_rejected_user_learns_what_is_missing(app: TestApp) {
    let event = app
        .event("login-streak", json!({"days": 7}), json!({"timeZone": "Asia/Seoul"}))
        .await;
    let user = five_days(&app).await;
    let token = app.log_in(&user).await;
    let request = app.claim(&token, &event).send().await.expect(201);
    assert_eq!(request["status"], "REJECTED");
    let told = explanation(&app, &token, &request).await.expect(200);
    let streak = json!({"days": {"current": 5, "longest": 5, "lastDay": "2026-03-05"}});
    let place = json!({"kind": "auth.login", "window": "last-days:8", "timeZone": "Asia/Seoul"});
    assert_eq!(
        told["facts"],
        json!([{
            "code": "fact-streak",
            "message": "5 of 7 days in a row with `auth.login` in Asia/Seoul, in the last 8 days",
            "args": with(place.clone(), json!({"current": "5", "target": "7", "longest": "5"})),
            "query": {"streak": {"kind": "auth.login", "subject": "claimant", "window": {"lastDays": 8}, "filters": []}},
            "value": streak,
        }])
    );
    let change = "2 more days in a row with `auth.login` in Asia/Seoul, in the last 8 days (7 instead of 5)";
    assert_eq!(
        told["counterfactuals"],
        json!([{
            "code": "qualifies", "message": format!("You qualify with {change}."), "minimal": true,
            "verdict": "GRANTED", "reasons": [],
            "changes": [{
                "code": "more", "message": change, "fact": 0, "from": streak,
                "to": {"days": {"current": 7, "longest": 7, "lastDay": "2026-03-05"}},
                "args": with(place, json!({"by": "2", "from": "5", "to": "7"})),
            }],
        }])
    );
    assert_eq!(
        (&told["basis"], &told["verdict"], &told["decidedBy"], &told["requestId"]),
        (
            &json!("RECEIPT"),
            &json!("REJECTED"),
            &json!("CONDITION"),
            &request["id"]
        )
    );
    assert_eq!(told["reasons"], request["reasons"]);
    assert_eq!(told["retryAt"], request["retryAt"]);
    assert_eq!(
        told["progress"],
        json!([{"key": "days", "current": 5, "target": 7, "label": "Days in a row"}])
    );
    assert_eq!(told["asOf"], request["receivedAt"]);
    assert_eq!(
        (&told["search"]["stoppedBy"], told["search"].get("skipped")),
        (&Value::Null, None)
    );
    assert!(told["search"]["runs"].as_u64() <= Some(64) && told["search"]["maxRuns"] == 64);
    // What only staff see.
    assert_eq!(told.get("details"), None);
    let for_staff = explanation(&app, &app.auditor().await, &request).await.expect(200);
    let receipt = app
        .read(&format!("/reward-requests/{}/receipt", text(&request, "id")))
        .await;
    let (terms, run) = (&receipt["terms"], &receipt["receipt"]["evaluation"]);
    assert_eq!(
        for_staff["details"],
        json!({
            "plugin": "login-streak", "version": terms["plugin"]["version"], "pluginDigest": terms["plugin"]["digest"],
            "params": {"days": 7}, "queries": terms["queries"], "facts": run["facts"], "timeZone": "Asia/Seoul",
            "period": "once", "fuel": run["fuel"], "receiptDigest": receipt["digest"],
        })
    );
    assert_eq!(
        (&for_staff["asOf"], &for_staff["knownBy"]),
        (&run["asOf"], &run["knownBy"])
    );
    assert_eq!(for_staff["counterfactuals"], told["counterfactuals"]);

    // The promise holds: after two more days the user qualifies.
    for day in 6..=7 {
        app.at(&format!("2026-03-0{day}T03:00:00Z"));
        app.log_in(&user).await;
    }
    // The explanation of the old request is still about the old facts.
    let token = app.log_in(&user).await;
    assert_eq!(explanation(&app, &token, &request).await.expect(200), told);
    let granted = app.claim(&token, &event).send().await.expect(201);
    assert_eq!(granted["status"], "GRANTED");
}

#[apply(on_both_engines)]
async fn others_find_no_explanation_and_scopes_are_required(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let (user, other) = (app.user(Role::User).await, app.user(Role::User).await);
    let request = app.claim(&user.token, &event).send().await.expect(201);
    let refused = explanation(&app, &other.token, &request).await;
    refused.expect_problem(404, "no-such-reward-request");
    for named in [json!({"userId": user.id}), json!({"externalUserId": "c-1"})] {
        explain(&app, &other.token, &event, named)
            .await
            .expect_problem(403, "forbidden");
    }
    for instant in ["asOf", "knownBy"] {
        let body = json!({instant: "2026-03-01T00:00:00Z"});
        explain(&app, &user.token, &event, body)
            .await
            .expect_problem(403, "forbidden");
    }
    // Their own, now.
    let own = explain(&app, &user.token, &event, json!({})).await.expect(200);
    assert_eq!((&own["userId"], &own["basis"]), (&json!(user.id), &json!("READ")));
    assert_eq!(own.get("requestId"), None);
    let auditor = app.auditor().await;
    assert_fault(explain(&app, &auditor, &event, json!({})).await, "/userId");
    assert_fault(
        explain(&app, &auditor, &event, json!({"colour": "red"})).await,
        "/colour",
    );
    let late = json!({"userId": user.id, "knownBy": "2030-01-01T00:00:00Z"});
    explain(&app, &auditor, &event, late)
        .await
        .expect_problem(400, "invalid-parameter");
    explain(&app, &auditor, &event, json!({"userId": user.id}))
        .await
        .expect(200);
    let nowhere = json!({"id": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"});
    explain(&app, &user.token, &nowhere, json!({}))
        .await
        .expect_problem(404, "no-such-event");

    // A service key that acts for users gets what they get.
    let key = create(&app, "shop", &["claims:read"], json!({})).await;
    let key = text(&key, "secret");
    let told = explanation(&app, key, &request).await.expect(200);
    assert_eq!(told, explanation(&app, &user.token, &request).await.expect(200));
    explain(&app, key, &event, json!({"userId": user.id})).await.expect(200);
    let key = create(&app, "reporter", &["activities:write"], json!({})).await;
    let key = text(&key, "secret");
    let body = json!({"userId": user.id});
    explain(&app, key, &event, body).await.expect_problem(403, "forbidden");
    explanation(&app, key, &request)
        .await
        .expect_problem(404, "no-such-reward-request");
    // Nothing was stored.
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 1);
}

#[apply(on_both_engines)]
async fn an_event_is_explained_as_of_any_instant(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 3}), json!({})).await;
    let user = five_days(&app).await;
    let auditor = app.auditor().await;
    let said = async |as_of: Value| {
        let told = explain(&app, &auditor, &event, json!({"userId": user.id, "asOf": as_of}))
            .await
            .expect(200);
        let messages = each(&told["counterfactuals"], "message").join(" ");
        (
            text(&told, "verdict").to_owned(),
            text(&told["facts"][0], "message").to_owned(),
            messages,
        )
    };
    let days = |number: &str| format!("{number} in a row with `auth.login` in UTC, in the last 4 days");
    let (verdict, fact, message) = said(json!("2026-03-02T12:00:00Z")).await;
    assert_eq!((verdict.as_str(), fact), ("REJECTED", days("2 of 3 days")));
    assert_eq!(
        message,
        "You qualify with 1 more day in a row with `auth.login` in UTC, in the last 4 days (3 instead of 2)."
    );
    // Of a claim that would be granted, staff learn what it stands on.
    let (verdict, fact, message) = said(json!("2026-03-03T12:00:00Z")).await;
    assert_eq!((verdict.as_str(), fact), ("GRANTED", days("3 days")));
    assert_eq!(
        message,
        "You do not qualify with 1 fewer day in a row with `auth.login` in UTC, in the last 4 days (2 instead of 3)."
    );
    let own = explain(&app, &app.log_in(&user).await, &event, json!({}))
        .await
        .expect(200);
    assert_eq!(
        (&own["verdict"], &own["search"]["skipped"]),
        (&json!("GRANTED"), &json!("STAFF_ONLY"))
    );
    assert_eq!(own["counterfactuals"], json!([]));
}

#[apply(on_both_engines)]
async fn attributes_change_alone_or_together(app: TestApp) {
    let event = app
        .event("user-attributes", json!({"minLevel": 30, "region": "KR"}), json!({}))
        .await;
    let user = app.user(Role::User).await;
    attributes(&app, &user, json!({"level": 12, "region": "KR"})).await;
    let said = async || {
        let token = app.log_in(&user).await;
        let told = explain(&app, &token, &event, json!({})).await.expect(200);
        let found = &told["counterfactuals"];
        (
            each(found, "message").join(" "),
            found[0]["minimal"].clone(),
            found[0]["changes"].as_array().map(Vec::len),
        )
    };
    let level = "the attribute `level` as \"30\" (it is \"12\")";
    assert_eq!(
        said().await,
        (format!("You qualify with {level}."), json!(true), Some(1))
    );
    app.at("2026-03-01T12:10:00Z");
    attributes(&app, &user, json!({"level": 12, "region": "JP"})).await;
    let region = "the attribute `region` as \"KR\" (it is \"JP\")";
    let both = format!("You qualify with {level} and {region}.");
    assert_eq!(said().await, (both, json!(true), Some(2)));
}

#[apply(on_both_engines)]
async fn what_the_host_decides_is_told_without_a_run(app: TestApp) {
    let user = app.user(Role::User).await;
    let told = async |event: &Value, body: Value| {
        let told = explain(
            &app,
            &app.auditor().await,
            event,
            with(json!({"userId": user.id}), body),
        )
        .await
        .expect(200);
        assert_eq!(
            (&told["decidedBy"], &told["search"]["skipped"], &told["search"]["runs"]),
            (&json!("HOST"), &json!("DECIDED_BY_HOST"), &json!(0)),
            "{told:#}"
        );
        assert_eq!((&told["facts"], &told["counterfactuals"]), (&json!([]), &json!([])));
        (
            text(&told, "verdict").to_owned(),
            text(&told["reasons"][0], "code").to_owned(),
        )
    };
    let rejected = |code: &str| ("REJECTED".to_owned(), code.to_owned());
    let event = app.event("first-come", json!({}), json!({})).await;
    assert_eq!(
        told(&event, json!({"asOf": "2026-01-01T00:00:00Z"})).await,
        rejected("event-not-started")
    );
    assert_eq!(
        told(&event, json!({"asOf": "2026-07-01T00:00:00Z"})).await,
        rejected("event-ended")
    );
    let request = app.claim(&user.token, &event).send().await.expect(201);
    assert_eq!(request["status"], "GRANTED");
    assert_eq!(told(&event, json!({})).await, rejected("already-granted"));

    let reward = app.reward(json!({"type": "GOLD", "stock": 1})).await;
    let one = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let winner = app.user(Role::User).await;
    app.claim(&winner.token, &one).send().await.expect(201);
    assert_eq!(told(&one, json!({})).await, rejected("sold-out"));
    let budget = json!({"budget": {"grants": 1, "period": "ONCE"}});
    let budget = app.event("first-come", json!({}), budget).await;
    app.claim(&winner.token, &budget).send().await.expect(201);
    assert_eq!(told(&budget, json!({})).await, rejected("budget-spent"));
    let held = reviewed_event(&app, json!({})).await;
    app.claim(&user.token, &held).send().await.expect(201);
    assert_eq!(told(&held, json!({})).await, rejected("claim-held"));
    let version = text(&event["condition"], "version").to_owned();
    let other = app.event("first-come", json!({}), json!({})).await;
    app.set_plugin("first-come", &version, "DISABLED").await;
    app.at("2026-03-01T12:00:10Z");
    assert_eq!(
        told(&other, json!({})).await,
        ("FAILED".to_owned(), "plugin-disabled".to_owned())
    );
}

#[apply(on_both_engines)]
async fn a_stored_decision_of_the_host_has_no_facts(app: TestApp) {
    let event = app
        .event("first-come", json!({}), json!({"startDate": "2026-03-10T00:00:00Z"}))
        .await;
    let user = app.user(Role::User).await;
    let request = app.claim(&user.token, &event).send().await.expect(201);
    let told = explanation(&app, &user.token, &request).await.expect(200);
    assert_eq!(
        (&told["decidedBy"], &told["verdict"], &told["search"]["skipped"]),
        (&json!("HOST"), &json!("REJECTED"), &json!("DECIDED_BY_HOST"))
    );
    assert_eq!(told["reasons"][0]["code"], "event-not-started");
    assert_eq!((told.get("knownBy"), &told["facts"]), (None, &json!([])));
}

#[apply(on_both_engines)]
async fn a_pending_or_erased_request_has_no_explanation(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let call = app.claim(&user.token, &event).header("prefer", "respond-async");
    let pending = call.send().await.expect(202);
    explanation(&app, &user.token, &pending)
        .await
        .expect_problem(409, "not-decided");
    let other = app.user(Role::User).await;
    let hidden = explanation(&app, &other.token, &pending).await;
    hidden.expect_problem(404, "no-such-reward-request");
    let request = app.claim(&other.token, &event).send().await.expect(201);
    let before = explanation(&app, &app.auditor().await, &request).await.expect(200);
    let reversal = format!("/reward-requests/{}/reversal", text(&request, "id"));
    let operator = app.operator().await;
    let reverse = app
        .post(&reversal)
        .bearer(&operator)
        .json(&json!({"reason": "Returned"}));
    reverse.send().await.expect(201);
    // The decision that was made stays explained.
    let after = explanation(&app, &app.auditor().await, &request).await.expect(200);
    assert_eq!((&after, &after["verdict"]), (&before, &json!("GRANTED")));
    erase(&app, text(&request, "id")).await;
    let gone = explanation(&app, &app.auditor().await, &request).await;
    gone.expect_problem(410, "receipt-erased");
}

#[apply(on_both_engines)]
async fn users_do_not_learn_how_to_avoid_a_review(app: TestApp) {
    let event = reviewed_event(&app, json!({})).await;
    let user = app.user(Role::User).await;
    let request = app.claim(&user.token, &event).send().await.expect(201);
    let told = explanation(&app, &user.token, &request).await.expect(200);
    assert_eq!(
        (&told["verdict"], &told["decidedBy"]),
        (&json!("HELD"), &json!("CONDITION"))
    );
    assert_eq!(told["search"]["skipped"], "STAFF_ONLY");
    // This condition has no query, so there is nothing to change for staff either.
    let told = explanation(&app, &app.auditor().await, &request).await.expect(200);
    assert_eq!(told["search"]["skipped"], "NO_FACTS");
}

fn purchases(subject: Subject) -> Selection {
    Selection {
        kind: "shop.purchase".to_owned(),
        subject,
        window: Window::AllTime,
        filters: Vec::new(),
    }
}

/// A guest that refuses everybody, with these queries.
fn refusing(name: &str, queries: Vec<Query>) -> Condition {
    let mut guest = guest(name);
    if let (Ok(binding), Ok(decision)) = (&mut guest.binding, &mut guest.decision) {
        binding.queries = queries;
        decision.outcome = Outcome::NotEligible;
        decision.awards = meed_host::contract::Awards::Chosen(Vec::new());
    }
    guest
}

#[apply(on_both_engines)]
async fn facts_about_other_users_are_not_told(app: TestApp) {
    let invitees = || purchases(Subject::Invitees);
    let queries = vec![
        Query::Sum(invitees()),
        Query::Last(invitees()),
        Query::Count(invitees()),
    ];
    let plugin = app.install(refusing("of-invitees", queries).module()).await;
    let event = app.event_on(&plugin, json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let told = explain(&app, &user.token, &event, json!({})).await.expect(200);
    assert_eq!(
        each(&told["facts"], "code"),
        ["fact-hidden", "fact-hidden", "fact-count"]
    );
    let values = told["facts"]
        .as_array()
        .expect("facts")
        .iter()
        .map(|fact| fact.get("value"));
    assert_eq!(values.collect::<Vec<_>>(), [None, None, Some(&json!({"integer": 0}))]);
    let for_staff = explain(&app, &app.auditor().await, &event, json!({"userId": user.id}))
        .await
        .expect(200);
    assert_eq!(
        each(&for_staff["facts"], "code"),
        ["fact-sum", "fact-last", "fact-count"]
    );
    // The user's search has fewer facts to change.
    assert!(told["search"]["runs"].as_u64() < for_staff["search"]["runs"].as_u64());
}

#[apply(on_both_engines)]
async fn a_slow_condition_is_run_until_the_fuel_is_used(app: TestApp) {
    let own = || purchases(Subject::Claimant);
    let mut slow = refusing("slow", vec![Query::Count(own()), Query::Sum(own())]);
    // About 900,000 of the 1,000,000 units that a run may use.
    slow.evaluate = "(loop $again
        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
        (br_if $again (i32.lt_u (i32.load (i32.const 0)) (i32.const 90000))))";
    let plugin = app.install(slow.module()).await;
    let event = app.event_on(&plugin, json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    purchase(&app, &user, "1", 100).await;
    let told = explain(&app, &user.token, &event, json!({})).await.expect(200);
    assert_eq!(told["search"]["stoppedBy"], "FUEL", "{:#}", told["search"]);
    assert!(told["search"]["fuel"].as_u64() < Some(17_000_000));
    // The runs of explanations do not count for the plugin.
    app.app.plugins.write_usage().await.expect("counts");
    let version = app.read("/plugins/slow/versions/1.2.3").await;
    assert_eq!(version["runs"], 0);
}

#[apply(on_both_engines)]
async fn sums_and_counts_are_told_with_their_window(app: TestApp) {
    let event = app
        .event(
            "activity-count",
            json!({"kind": "shop.purchase", "sum": 5000, "lastDays": 30}),
            json!({}),
        )
        .await;
    let user = app.user(Role::User).await;
    purchase(&app, &user, "1", 4200).await;
    let told = explain(&app, &user.token, &event, json!({})).await.expect(200);
    assert_eq!(
        each(&told["facts"], "message"),
        ["a sum of 4200 of 5000 from `shop.purchase` in the last 30 days"]
    );
    assert_eq!(
        each(&told["counterfactuals"], "message"),
        ["You qualify with a sum of 5000 instead of 4200 from `shop.purchase` in the last 30 days."]
    );
    assert_eq!(told["counterfactuals"][0]["minimal"], true);
}
