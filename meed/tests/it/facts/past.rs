//! Two clocks over HTTP: `asOf` and `knownBy` of simulations and progress, and the instants in a receipt.

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::service_keys::secret;
use crate::support::{Reply, TestApp, TestUser, assert_fault, bundled, on_both_engines, text, with};

/// A shop that reports the purchases of a user.
async fn purchase(app: &TestApp, user: &TestUser, id: &str, occurred_at: &str) {
    let operator = app.operator().await;
    let body = json!({
        "source": "shop", "id": id, "userId": user.id, "kind": "shop.purchase", "occurredAt": occurred_at,
        "amount": 100,
    });
    app.post("/activities")
        .bearer(&operator)
        .json(&body)
        .send()
        .await
        .expect(201);
}

async fn event(app: &TestApp) -> Value {
    let params = json!({"kind": "shop.purchase", "count": 2});
    app.event(
        "activity-count",
        params,
        json!({"recurrence": {"period": "DAILY", "count": 2}}),
    )
    .await
}

async fn progress(app: &TestApp, token: &str, event: &Value, query: &str) -> Reply {
    let path = format!("/events/{}/progress?{query}", text(event, "id"));
    app.get(&path).bearer(token).send().await
}

async fn simulate(app: &TestApp, user: &TestUser, event: &Value, changes: Value) -> Reply {
    app.install(bundled("activity-count")).await;
    let condition = &event["condition"];
    let path = format!(
        "/plugins/{}/versions/{}/simulate",
        text(condition, "plugin"),
        text(condition, "version")
    );
    let body = json!({
        "params": condition["params"], "userId": user.id, "eventId": event["id"], "startDate": event["startDate"],
        "endDate": event["endDate"],
    });
    let token = app.operator().await;
    app.post(&path).bearer(&token).json(&with(body, changes)).send().await
}

#[apply(on_both_engines)]
async fn a_late_activity_changes_answers_but_no_receipt(app: TestApp) {
    let event = event(&app).await;
    let user = app.user(Role::User).await;
    purchase(&app, &user, "1", "2026-03-01T10:00:00Z").await;
    purchase(&app, &user, "2", "2026-03-01T11:00:00Z").await;
    app.at("2026-03-01T12:10:00Z");
    let token = app.log_in(&user).await;
    let request = app.claim(&token, &event).send().await.expect(201);
    assert_eq!(request["status"], "GRANTED");
    let path = format!("/reward-requests/{}/receipt", text(&request, "id"));
    let receipt = app.read(&path).await;
    let run = &receipt["receipt"]["evaluation"];
    // The facts of a claim are read when it arrives.
    assert_eq!(
        (&run["asOf"], &run["knownBy"]),
        (&receipt["receipt"]["receivedAt"], &run["asOf"])
    );
    assert_eq!(run["facts"], json!([{"integer": 2}]));

    // The shop reports an earlier purchase a day later.
    app.at("2026-03-02T12:00:00Z");
    purchase(&app, &user, "3", "2026-03-01T09:00:00Z").await;
    assert_eq!(app.read(&path).await, receipt);
    // Asked about the instants of the receipt, the facts are still those of the receipt.
    let instants = json!({"asOf": run["asOf"], "knownBy": run["knownBy"]});
    let then = simulate(&app, &user, &event, instants).await.expect(200);
    assert_eq!(then["facts"], run["facts"]);
    assert_eq!((&then["asOf"], &then["knownBy"]), (&run["asOf"], &run["knownBy"]));
    // What was true then is another question. By default it knows what is known now.
    let true_then = simulate(&app, &user, &event, json!({"asOf": run["asOf"]}))
        .await
        .expect(200);
    assert_eq!(true_then["facts"], json!([{"integer": 3}]));
    assert_eq!(true_then["knownBy"], "2026-03-02T12:00:00.000Z");
    let now = simulate(&app, &user, &event, json!({})).await.expect(200);
    assert_eq!(now["facts"], json!([{"integer": 3}]));
    let both = ["asOf", "knownBy"].map(|instant| text(&now, instant).to_owned());
    assert_eq!(both, ["2026-03-02T12:00:00.000Z"; 2]);
}

#[apply(on_both_engines)]
async fn staff_see_the_progress_of_a_user_as_of_any_instant(app: TestApp) {
    let event = event(&app).await;
    let user = app.user(Role::User).await;
    purchase(&app, &user, "1", "2026-03-01T10:00:00Z").await;
    app.at("2026-03-01T14:00:00Z");
    purchase(&app, &user, "2", "2026-03-01T11:00:00Z").await;
    app.at("2026-03-01T14:01:00Z");
    let claim = async || {
        let token = app.log_in(&user).await;
        app.claim(&token, &event).send().await.expect(201)
    };
    let first = claim().await;
    assert_eq!(first["status"], "GRANTED");
    app.at("2026-03-01T14:02:00Z");
    let reversal = format!("/reward-requests/{}/reversal", text(&first, "id"));
    let operator = app.operator().await;
    let reverse = app
        .post(&reversal)
        .bearer(&operator)
        .json(&json!({"reason": "A return"}));
    reverse.send().await.expect(201);
    app.at("2026-03-01T14:03:00Z");
    claim().await;
    app.at("2026-03-01T15:00:00Z");

    let auditor = app.auditor().await;
    let whose = format!("userId={}", user.id);
    let seen = async |query: &str| {
        let reply = progress(&app, &auditor, &event, &format!("{whose}&{query}")).await;
        let seen = reply.expect(200);
        (
            seen["progress"][0]["current"].clone(),
            seen["granted"].clone(),
            seen["eligible"].clone(),
        )
    };
    let expected = |current: i64, granted: i64, eligible: bool| (json!(current), json!(granted), json!(eligible));
    assert_eq!(seen("").await, expected(2, 1, true));
    for (query, answer) in [
        ("asOf=2026-03-01T10:30:00Z", expected(1, 0, false)),
        ("asOf=2026-03-01T11:00:00Z", expected(2, 0, true)),
        // The second purchase was recorded three hours later.
        (
            "asOf=2026-03-01T11:00:00Z&knownBy=2026-03-01T13:59:59.999Z",
            expected(1, 0, false),
        ),
        ("knownBy=2026-03-01T13:59:59.999Z", expected(1, 0, false)),
        // The first grant stood for a minute.
        ("asOf=2026-03-01T14:01:00Z", expected(2, 1, true)),
        ("asOf=2026-03-01T14:02:00Z", expected(2, 0, true)),
        ("asOf=2026-03-01T14:03:00Z", expected(2, 1, true)),
        // The reversal was not known yet.
        (
            "asOf=2026-03-01T14:03:00Z&knownBy=2026-03-01T14:01:30Z",
            expected(2, 1, true),
        ),
        // The next day has a new period, and all its slots.
        ("asOf=2026-03-02T00:00:00Z", expected(2, 0, true)),
        // Before the event, and before any activity could be.
        ("asOf=2026-01-31T23:59:59.999Z", (Value::Null, json!(0), json!(false))),
        ("asOf=1969-12-31T00:00:00Z", (Value::Null, json!(0), json!(false))),
        // Before the user registered, nothing was known.
        ("knownBy=2026-02-01T00:00:00Z", expected(0, 0, false)),
    ] {
        assert_eq!(seen(query).await, answer, "{query}");
    }
    let reply = progress(
        &app,
        &auditor,
        &event,
        &format!("{whose}&asOf=2026-03-01T20:30:00%2B09:00"),
    )
    .await;
    let answer = reply.expect(200);
    assert_eq!(
        (text(&answer, "asOf"), text(&answer, "knownBy")),
        ("2026-03-01T11:30:00.000Z", "2026-03-01T15:00:00.000Z")
    );
    // Nothing was stored.
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 2);
    // A disabled account has a past.
    let admin = app.token(Role::Admin).await;
    let disable = app
        .patch(&format!("/users/{}", user.id))
        .bearer(&admin)
        .json(&json!({"disabled": true}));
    disable.send().await.expect(200);
    assert_eq!(seen("asOf=2026-03-01T11:00:00Z").await, expected(2, 0, true));
    progress(&app, &auditor, &event, &whose)
        .await
        .expect_problem(403, "forbidden");
}

#[apply(on_both_engines)]
async fn limits_for_all_users_do_not_count_in_the_past(app: TestApp) {
    let reward = app.reward(json!({"type": "GOLD", "stock": 1})).await;
    let changes = json!({"rewardIds": [reward["id"]], "budget": {"grants": 1, "period": "ONCE"}});
    let event = app.event("first-come", json!({}), changes).await;
    let (ada, bob) = (app.user(Role::User).await, app.user(Role::User).await);
    assert_eq!(
        app.claim(&ada.token, &event).send().await.expect(201)["status"],
        "GRANTED"
    );
    let auditor = app.auditor().await;
    let seen = async |query: &str| {
        let reply = progress(&app, &auditor, &event, &format!("userId={}{query}", bob.id)).await;
        reply.expect(200)["eligible"].clone()
    };
    assert_eq!(seen("").await, false);
    assert_eq!(seen("&asOf=2026-03-01T11:00:00Z").await, true);
}

#[apply(on_both_engines)]
async fn only_principals_that_read_all_claims_travel(app: TestApp) {
    let event = event(&app).await;
    let user = app.user(Role::User).await;
    let travel = "asOf=2026-03-01T10:00:00Z";
    for query in [travel, "knownBy=2026-03-01T10:00:00Z"] {
        let refused = progress(&app, &user.token, &event, query).await;
        let refused = refused.expect_problem(403, "forbidden");
        assert!(text(&refused, "detail").contains("audit:read"), "{refused:#}");
    }
    let own = progress(&app, &user.token, &event, "").await.expect(200);
    assert_eq!((own.get("asOf"), own.get("knownBy")), (None, None));

    let claims = secret(&app, "shop", &["claims:read"]).await;
    let whose = format!("userId={}", user.id);
    progress(&app, &claims, &event, &whose).await.expect(200);
    let refused = progress(&app, &claims, &event, &format!("{whose}&{travel}")).await;
    refused.expect_problem(403, "forbidden");
    let audit = secret(&app, "console", &["audit:read"]).await;
    progress(&app, &audit, &event, &format!("{whose}&{travel}"))
        .await
        .expect(200);

    let auditor = app.auditor().await;
    for role in [Role::Operator, Role::Admin] {
        let token = app.token(role).await;
        progress(&app, &token, &event, &format!("{whose}&{travel}"))
            .await
            .expect(200);
    }
    // Staff have no progress of their own, and name a user who may claim.
    assert_fault(progress(&app, &auditor, &event, travel).await, "/userId");
    let unknown = "userId=0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";
    assert_fault(progress(&app, &auditor, &event, unknown).await, "/userId");
    let operator = app.user(Role::Operator).await;
    let staff = progress(&app, &auditor, &event, &format!("userId={}", operator.id)).await;
    staff.expect_problem(403, "forbidden");
}

#[apply(on_both_engines)]
async fn an_instant_that_cannot_be_asked_about_is_refused(app: TestApp) {
    let event = event(&app).await;
    let user = app.user(Role::User).await;
    let auditor = app.auditor().await;
    let whose = format!("userId={}", user.id);
    for query in [
        "knownBy=2026-03-01T12:00:00.001Z",
        "asOf=yesterday",
        "knownBy=2026-03-01",
        "asOf=",
    ] {
        let refused = progress(&app, &auditor, &event, &format!("{whose}&{query}")).await;
        let refused = refused.expect_problem(400, "invalid-parameter");
        let (instant, _) = query.split_once('=').expect("a parameter");
        assert!(text(&refused, "detail").contains(instant), "{refused:#}");
    }
    let future = json!({"knownBy": "2026-03-01T12:00:00.001Z"});
    assert_fault(simulate(&app, &user, &event, future).await, "/knownBy");
    let given = json!({"userId": null, "facts": [{"integer": 1}], "knownBy": "2026-03-01T11:00:00Z"});
    assert_fault(simulate(&app, &user, &event, given).await, "/knownBy");
    let given = json!({"userId": null, "facts": [{"integer": 1}]});
    let given = simulate(&app, &user, &event, given).await.expect(200);
    assert_eq!(given.get("knownBy"), None);
    // What will be true later, as far as it is known now.
    let later = json!({"asOf": "2026-05-01T00:00:00Z"});
    let later = simulate(&app, &user, &event, later).await.expect(200);
    assert_eq!(later["facts"], json!([{"integer": 0}]));
}
