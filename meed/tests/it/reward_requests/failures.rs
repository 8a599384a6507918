//! FAILED: an error of the server or the plugin; the user can claim again

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use crate::guests::{Condition, ENDLESS};
use crate::support::{TestApp, bundled, guest, on_both_engines, text};

#[apply(on_both_engines)]
async fn a_plugin_failure_is_not_a_rejection(app: TestApp) {
    let user = app.user(Role::User).await;
    for (name, evaluate) in [("trapping", "(unreachable)"), ("endless", ENDLESS)] {
        let plugin = app
            .install(
                Condition {
                    evaluate,
                    ..guest(name)
                }
                .module(),
            )
            .await;
        let event = app.event_on(&plugin, json!({}), json!({})).await;
        for _ in 0..2 {
            let failed = app.claim(&user.token, &event).send().await.expect(201);
            assert_eq!(
                (text(&failed, "status"), &failed["retryable"]),
                ("FAILED", &json!(true))
            );
            assert_eq!(
                (
                    text(&failed["reasons"][0], "source"),
                    text(&failed["reasons"][0], "code")
                ),
                ("HOST", "condition-failed")
            );
            assert_eq!((&failed["grants"], &failed["progress"]), (&json!([]), &json!([])));
            // The response contains no internals of the plugin.
            assert!(
                !failed.to_string().contains("unreachable") && !failed.to_string().contains("fuel"),
                "{failed:#}"
            );
        }
        let path = format!("/events/{}/progress", text(&event, "id"));
        let problem = app.get(&path).bearer(&user.token).send().await;
        assert_eq!(problem.header("retry-after"), "5");
        problem.expect_problem(503, "condition-failed");

        // With a condition that works, the same user is granted.
        let works = app.install(bundled("first-come")).await;
        let condition = json!({"plugin": works.name, "version": works.version, "params": {}});
        app.change_event(&event, json!({"condition": condition}))
            .await
            .expect(200);
        assert_eq!(
            app.claim(&user.token, &event).send().await.expect(201)["status"],
            "GRANTED"
        );
    }
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 2);
    assert_eq!(
        app.count("SELECT COUNT(*) FROM reward_requests WHERE status = 'FAILED'")
            .await,
        4
    );
}

#[apply(on_both_engines)]
async fn facts_that_overflow_are_a_failure_with_a_row(app: TestApp) {
    let user = app.user(Role::User).await;
    let operator = app.operator().await;
    for batch in 0..10 {
        let purchases: Vec<_> = (0..1000)
            .map(|number| {
                json!({
                    "source": "shop", "id": format!("{batch}-{number}"), "userId": user.id, "kind": "shop.purchase",
                    "amount": 1_000_000_000_000_i64,
                })
            })
            .collect();
        app.post("/activities")
            .bearer(&operator)
            .json(&json!(purchases))
            .send()
            .await
            .expect(201);
    }
    let params = json!({"kind": "shop.purchase", "sum": 1});
    let event = app
        .event("activity-count", params, json!({"acceptSlowReads": true}))
        .await;
    let failed = app.claim(&user.token, &event).send().await.expect(201);
    assert_eq!(
        (text(&failed, "status"), text(&failed["reasons"][0], "code")),
        ("FAILED", "condition-failed")
    );
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 1);
}

#[apply(on_both_engines)]
async fn an_award_that_is_not_allowed_is_a_failure(app: TestApp) {
    // The honest guest awards a reward that the event does not have.
    let mut foreign = Condition::default();
    foreign.binding.as_mut().expect("a binding").queries.clear();
    let plugin = app.install(foreign.module()).await;
    let event = app.event_on(&plugin, json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    assert_eq!(
        app.claim(&user.token, &event).send().await.expect(201)["status"],
        "FAILED"
    );
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 0);
}

#[apply(on_both_engines)]
async fn a_disabled_plugin_fails_until_it_is_enabled(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let version = event["condition"]["version"].as_str().expect("a version");
    let user = app.user(Role::User).await;
    app.set_plugin("first-come", version, "DISABLED").await;
    let failed = app.claim(&user.token, &event).send().await.expect(201);
    assert_eq!(
        (text(&failed, "status"), text(&failed["reasons"][0], "code")),
        ("FAILED", "plugin-disabled")
    );
    assert_eq!(failed["grants"], json!([]));
    let path = format!("/events/{}/progress", text(&event, "id"));
    app.get(&path)
        .bearer(&user.token)
        .send()
        .await
        .expect_problem(503, "condition-failed");

    app.set_plugin("first-come", version, "ACTIVE").await;
    assert_eq!(
        app.claim(&user.token, &event).send().await.expect(201)["status"],
        "GRANTED"
    );
}
