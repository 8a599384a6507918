//! The validation of every field of an event

use rstest_reuse::apply;
use serde_json::{Value, json};

use super::path_of;
use crate::guests::{Condition, ENDLESS};
use crate::support::{TestApp, assert_fault, bundled, event_input, guest, on_both_engines, with};

#[apply(on_both_engines)]
async fn every_field_is_checked(app: TestApp) {
    let plugin = app.install(bundled("login-streak")).await;
    let good = app.event_body(&plugin, json!({"days": 7}), json!({})).await;
    let reward = good["rewardIds"][0].clone();
    let long = |length| "x".repeat(length);
    let cases = [
        ("/title", json!({"title": null})),
        ("/title", json!({"title": 7})),
        ("/title", json!({"title": ""})),
        ("/title", json!({"title": long(201)})),
        ("/title", json!({"title": "a\u{0}b"})),
        ("/description", json!({"description": long(4001)})),
        ("/description", json!({"description": ["x"]})),
        ("/startDate", json!({"startDate": null})),
        ("/startDate", json!({"startDate": "2026-03-01"})),
        ("/startDate", json!({"startDate": "2026-03-01T00:00:00"})),
        ("/startDate", json!({"startDate": 1_772_323_200})),
        ("/startDate", json!({"startDate": "2026-02-30T00:00:00Z"})),
        ("/startDate", json!({"startDate": "+292278994-08-17T07:12:55Z"})),
        ("/endDate", json!({"endDate": "soon"})),
        ("/endDate", json!({"endDate": "2026-01-31T23:59:59.999Z"})),
        ("/endDate", json!({"endDate": "2026-02-01T00:00:00Z"})),
        ("/endDate", json!({"endDate": "2026-02-01T00:00:00.0009Z"})),
        ("/endDate", json!({"endDate": "2036-03-01T00:00:00Z"})),
        ("/isActive", json!({"isActive": "yes"})),
        ("/tags", json!({"tags": "spring"})),
        ("/tags", json!({"tags": vec!["x"; 33]})),
        ("/tags/0", json!({"tags": [""]})),
        ("/tags/1", json!({"tags": ["fine", long(65)]})),
        ("/tags/0", json!({"tags": ["a\"b"]})),
        ("/tags/0", json!({"tags": ["a\\b"]})),
        ("/tags/0", json!({"tags": ["a\nb"]})),
        ("/tags/0", json!({"tags": [7]})),
        ("/rewardIds", json!({"rewardIds": []})),
        ("/rewardIds", json!({"rewardIds": null})),
        ("/rewardIds", json!({"rewardIds": [reward, reward]})),
        (
            "/rewardIds",
            json!({"rewardIds": ["0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"]}),
        ),
        (
            "/rewardIds",
            json!({"rewardIds": [reward, "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"]}),
        ),
        ("/rewardIds/0", json!({"rewardIds": ["gold"]})),
        (
            "/rewardIds",
            json!({"rewardIds": (0..33).map(|_| uuid::Uuid::now_v7()).collect::<Vec<_>>()}),
        ),
        ("/timeZone", json!({"timeZone": ""})),
        ("/timeZone", json!({"timeZone": "Mars/Olympus"})),
        ("/timeZone", json!({"timeZone": "+09:00"})),
        ("/timeZone", json!({"timeZone": "KST"})),
        ("/timeZone", json!({"timeZone": long(65)})),
        ("/timeZone", json!({"timeZone": 9})),
        ("/condition", json!({"condition": null})),
        ("/condition", json!({"condition": "login-streak"})),
        ("/recurrence", json!({"recurrence": null})),
        ("/recurrence", json!({"recurrence": {}})),
        ("/recurrence/period", json!({"recurrence": {"period": "daily"}})),
        ("/recurrence/period", json!({"recurrence": {"period": "HOURLY"}})),
        (
            "/recurrence/count",
            json!({"recurrence": {"period": "DAILY", "count": 0}}),
        ),
        (
            "/recurrence/count",
            json!({"recurrence": {"period": "DAILY", "count": 1001}}),
        ),
        (
            "/recurrence/count",
            json!({"recurrence": {"period": "DAILY", "count": 1.5}}),
        ),
        (
            "/recurrence/every",
            json!({"recurrence": {"period": "DAILY", "every": 2}}),
        ),
        ("/budget", json!({"budget": 1000})),
        ("/budget", json!({"budget": {"grants": 1000}})),
        ("/budget", json!({"budget": {"period": "DAILY"}})),
        (
            "/budget",
            json!({"budget": {"period": "DAILY", "grants": null, "amount": null}}),
        ),
        (
            "/budget/period",
            json!({"budget": {"period": "HOURLY", "grants": 1000}}),
        ),
        ("/budget/grants", json!({"budget": {"period": "DAILY", "grants": 0}})),
        ("/budget/grants", json!({"budget": {"period": "DAILY", "grants": 1.5}})),
        (
            "/budget/grants",
            json!({"budget": {"period": "DAILY", "grants": 1_000_000_001}}),
        ),
        ("/budget/amount", json!({"budget": {"period": "DAILY", "amount": 0}})),
        (
            "/budget/amount",
            json!({"budget": {"period": "DAILY", "grants": 1, "amount": -1}}),
        ),
        (
            "/budget/amount",
            json!({"budget": {"period": "DAILY", "amount": 9_007_199_254_740_992_i64}}),
        ),
        (
            "/budget/users",
            json!({"budget": {"period": "DAILY", "grants": 1, "users": 1}}),
        ),
        ("/maxQuantity", json!({"maxQuantity": 0})),
        ("/maxQuantity", json!({"maxQuantity": 1001})),
        ("/maxQuantity", json!({"maxQuantity": -1})),
        ("/respondAsync", json!({"respondAsync": "yes"})),
        ("/respondAsync", json!({"respondAsync": null})),
        ("/colour", json!({"colour": "red"})),
        ("/id", json!({"id": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"})),
    ];
    for (pointer, changes) in cases {
        assert_fault(app.create_event(&with(good.clone(), changes)).await, pointer);
    }
    for member in ["title", "startDate", "endDate", "rewardIds", "condition"] {
        let mut body = good.clone();
        body.as_object_mut().expect("an object").remove(member);
        let problem = app.create_event(&body).await.expect_problem(422, "invalid-body");
        assert!(problem.to_string().contains(member), "{problem:#}");
    }
    assert_eq!(app.read("/events").await["items"], json!([]));
    // A change has the same checks.
    let event = app.create_event(&good).await.expect(201);
    assert_fault(app.change_event(&event, json!({"timeZone": "KST"})).await, "/timeZone");
    assert_fault(
        app.change_event(&event, json!({"rewardIds": [uuid::Uuid::nil()]}))
            .await,
        "/rewardIds",
    );
    assert_eq!(app.read(&path_of(&event)).await, event);
}

#[apply(on_both_engines)]
async fn values_at_the_limits_are_accepted(app: TestApp) {
    let plugin = app.install(bundled("first-come")).await;
    let mut rewards = Vec::new();
    for _ in 0..32 {
        rewards.push(app.reward(json!({"type": "POINT"})).await["id"].clone());
    }
    let changes = json!({
        "title": "\u{1f381}".repeat(200), "description": "é".repeat(4000), "tags": vec!["x".repeat(64); 32],
        "rewardIds": rewards, "recurrence": {"period": "MONTHLY", "count": 1000}, "maxQuantity": 1000,
        "startDate": "2026-02-01T00:00:00Z", "endDate": "2036-02-01T00:00:00Z", "timeZone": "Asia/Kathmandu",
    });
    let event = app.event_on(&plugin, json!({}), changes).await;
    assert_eq!(app.read(&path_of(&event)).await, event);
}

#[apply(on_both_engines)]
async fn the_condition_is_checked_by_schema_and_by_bind(app: TestApp) {
    let streak = app.install(bundled("login-streak")).await;
    app.install(bundled("activity-count")).await;
    app.install(bundled("user-attributes")).await;
    let good = app.event_body(&streak, json!({"days": 7}), json!({})).await;
    let version = streak.version.clone();
    let condition = |plugin: &str, params: Value| json!({"plugin": plugin, "version": version, "params": params});
    let purchases = |params: Value| condition("activity-count", with(json!({"kind": "shop.purchase"}), params));
    let cases = [
        ("/condition/plugin", json!({"plugin": "nobody", "version": "1.0.0"})),
        (
            "/condition/version",
            json!({"plugin": "login-streak", "version": "9.9.9"}),
        ),
        ("/condition/plugin", json!({"plugin": "", "version": "1.0.0"})),
        (
            "/condition/plugin",
            json!({"plugin": "x".repeat(65), "version": "1.0.0"}),
        ),
        ("/condition/plugin", json!({"plugin": 7, "version": "1.0.0"})),
        ("/condition/version", json!({"plugin": "login-streak", "version": ""})),
        ("/condition", json!({"plugin": "login-streak"})),
        (
            "/condition/digest",
            with(
                condition("login-streak", json!({"days": 7})),
                json!({"digest": "sha256:0"}),
            ),
        ),
        // Rejected by the schema,
        ("/condition/params", condition("login-streak", json!({}))),
        ("/condition/params", condition("login-streak", json!(7))),
        (
            "/condition/params",
            condition("login-streak", json!({"days": 7, "weeks": 1})),
        ),
        ("/condition/params/days", condition("login-streak", json!({"days": 0}))),
        (
            "/condition/params/days",
            condition("login-streak", json!({"days": 366})),
        ),
        (
            "/condition/params/days",
            condition("login-streak", json!({"days": "7"})),
        ),
        (
            "/condition/params/days",
            condition("login-streak", json!({"days": 7.5})),
        ),
        (
            "/condition/params/kind",
            purchases(json!({"kind": "shop purchase", "count": 1})),
        ),
        (
            "/condition/params/kind",
            purchases(json!({"kind": "k".repeat(65), "count": 1})),
        ),
        ("/condition/params/where", purchases(json!({"count": 1, "where": []}))),
        (
            "/condition/params/where",
            purchases(json!({"count": 1, "where": {"no spaces": "x"}})),
        ),
        (
            "/condition/params",
            condition("login-streak", json!({"days": 7, "padding": "x".repeat(16 << 10)})),
        ),
        // and rejected by `bind`.
        ("/condition/params", purchases(json!({}))),
        ("/condition/params/sum", purchases(json!({"count": 1, "sum": 1}))),
        ("/condition/params", condition("user-attributes", json!({}))),
        (
            "/condition/params/region",
            condition("user-attributes", json!({"region": "K\u{0}R"})),
        ),
    ];
    for (pointer, condition) in cases {
        assert_fault(
            app.create_event(&with(good.clone(), json!({"condition": condition})))
                .await,
            pointer,
        );
    }
    assert_eq!(app.read("/events").await["items"], json!([]));
}

#[apply(on_both_engines)]
async fn a_disabled_plugin_cannot_be_used_by_a_new_event(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let version = event["condition"]["version"].as_str().expect("a version");
    app.set_plugin("first-come", version, "DISABLED").await;
    assert_fault(app.create_event(&event_input(&event)).await, "/condition/version");
    app.set_plugin("first-come", version, "ACTIVE").await;
    app.create_event(&event_input(&event)).await.expect(201);
}

#[apply(on_both_engines)]
async fn a_failed_bind_is_reported(app: TestApp) {
    for (failure, bind) in [("out-of-fuel", ENDLESS), ("trap", "(unreachable)")] {
        let mut failing = Condition {
            bind,
            ..guest("failing")
        };
        failing.manifest.version = format!("1.0.0-{failure}");
        let plugin = app.install(failing.module()).await;
        let body = app.event_body(&plugin, json!({}), json!({})).await;
        let problem = app.create_event(&body).await.expect_problem(422, "plugin-failed");
        assert_eq!(problem["failure"], failure);
    }
}

#[apply(on_both_engines)]
async fn a_budget_amount_requires_a_reward_with_a_value(app: TestApp) {
    let plugin = app.install(bundled("first-come")).await;
    let budget = json!({"period": "MONTHLY", "amount": 500});
    let (item, nothing) = (
        app.reward(json!({"type": "ITEM"})).await,
        app.reward(json!({"type": "POINT", "value": 0})).await,
    );
    let worthless = json!({"rewardIds": [item["id"], nothing["id"]]});
    let body = app.event_body(&plugin, json!({}), worthless.clone()).await;
    assert_fault(
        app.create_event(&with(body.clone(), json!({"budget": budget}))).await,
        "/budget/amount",
    );
    app.create_event(&with(body, json!({"budget": {"period": "MONTHLY", "grants": 5}})))
        .await
        .expect(201);

    let worth = app.reward(json!({"type": "POINT", "value": 1})).await;
    let changes = json!({"rewardIds": [item["id"], worth["id"]], "budget": budget});
    let body = app.event_body(&plugin, json!({}), changes).await;
    let event = app.create_event(&body).await.expect(201);
    assert_eq!(
        event["budget"],
        json!({"period": "MONTHLY", "grants": null, "amount": 500})
    );
    assert_fault(app.change_event(&event, worthless).await, "/budget/amount");
    let path = format!("{}/revisions", path_of(&event));
    let revisions = app.read(&path).await;
    assert_eq!(
        (
            revisions["items"].as_array().map(Vec::len),
            &revisions["items"][0]["event"]["budget"]
        ),
        (Some(1), &event["budget"])
    );
    // A response is a valid request body.
    let changed = app.change_event(&event, json!({"title": "Again"})).await.expect(200);
    assert_eq!(
        (&changed["budget"], event_input(&changed)["budget"].is_object()),
        (&event["budget"], true)
    );
}

/// Params that would be stored, evaluated and signed as something else than what was sent.
#[apply(on_both_engines)]
async fn params_that_cannot_be_kept_exactly_are_refused(app: TestApp) {
    let plugin = app.install(bundled("lucky-draw")).await;
    let good = app.event_body(&plugin, json!({}), json!({})).await;
    let reward = good["rewardIds"][0].as_str().expect("an id").to_owned();
    let operator = app.operator().await;
    let before = app.count("SELECT COUNT(*) FROM events").await;
    let simulation = format!("/plugins/lucky-draw/versions/{}/simulate", plugin.version);
    for (pointer, params, says) in [
        (
            format!("/params/weights/{reward}"),
            format!(r#"{{"weights": {{"{reward}": 1610521604143693812}}}}"#),
            "the number 1610521604143693812 is outside",
        ),
        (
            format!("/params/weights/{reward}"),
            format!(r#"{{"weights": {{"{reward}": 9007199254740993.0}}}}"#),
            "is outside",
        ),
        (
            "/params/weights".to_owned(),
            format!(r#"{{"weights": {{"{reward}": 1, "{reward}": 2}}}}"#),
            "occurs twice",
        ),
        (
            "/params".to_owned(),
            r#"{"weights": {}, "weights": {}}"#.to_owned(),
            "the member \"weights\" occurs twice",
        ),
    ] {
        // As text, because a JSON value has neither.
        let event = with(
            good.clone(),
            json!({"condition": with(good["condition"].clone(), json!({"params": "PARAMS"}))}),
        );
        let event = event.to_string().replace("\"PARAMS\"", &params);
        let simulated = format!(r#"{{"params": {params}, "facts": []}}"#);
        for (path, body, prefix) in [("/events", event, "/condition"), (simulation.as_str(), simulated, "")] {
            let call = app.post(path).bearer(&operator).bytes("application/json", body);
            let problem = call.send().await.expect_problem(422, "invalid-body");
            let fault = &problem["errors"][0];
            let message = fault["message"].as_str().expect("a message");
            assert!(message.contains(says), "{path} {message}");
            assert!(
                fault["pointer"]
                    .as_str()
                    .expect("a pointer")
                    .starts_with(&format!("{prefix}{pointer}")),
                "{path} {fault}"
            );
        }
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM events").await, before);
}
