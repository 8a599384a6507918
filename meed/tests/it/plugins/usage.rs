//! Runs and failures of a version, and `GET /plugins/{name}/versions/{version}/usage`

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::guests::Condition;
use crate::support::{TestApp, bundled, guest, on_both_engines, text};

#[apply(on_both_engines)]
async fn runs_and_failures_are_added_up_over_processes(app: TestApp) {
    let other = app.replica(&[]);
    let good = app.install(bundled("first-come")).await;
    let bad = app
        .install(
            Condition {
                evaluate: "(unreachable)",
                ..guest("bad")
            }
            .module(),
        )
        .await;
    let (granted, failing) = (
        app.event_on(&good, json!({}), json!({})).await,
        app.event_on(&bad, json!({}), json!({})).await,
    );
    let (good, bad) = (
        format!("/plugins/first-come/versions/{}", good.version),
        format!("/plugins/bad/versions/{}", bad.version),
    );
    let version = app.read(&good).await;
    assert_eq!(
        (&version["runs"], &version["failures"], &version["lastRunAt"]),
        (&json!(0), &json!(0), &Value::Null)
    );

    let crowd = app.crowd(3).await;
    for (user, process) in crowd.iter().zip([&app, &app, &other]) {
        process.claim(&user.token, &granted).send().await.expect(201);
        process.claim(&user.token, &failing).send().await.expect(201);
    }
    // A progress request runs the plugin too, but is not a claim; a repeat after the grant does not run it.
    let progress = format!("/events/{}/progress", text(&granted, "id"));
    app.get(&progress).bearer(&crowd[0].token).send().await.expect(200);
    app.claim(&crowd[0].token, &granted)
        .send()
        .await
        .expect_problem(409, "already-granted");
    assert_eq!(app.app.plugins.write_usage().await.expect("written"), 2);
    assert_eq!(app.read(&good).await["runs"], 2);
    assert_eq!(other.app.plugins.write_usage().await.expect("written"), 2);
    assert_eq!(other.app.plugins.write_usage().await.expect("written"), 0);
    let (good, bad) = (app.read(&good).await, app.read(&bad).await);
    assert_eq!((&good["runs"], &good["failures"]), (&json!(3), &json!(0)));
    assert_eq!((&bad["runs"], &bad["failures"]), (&json!(3), &json!(3)));
    assert_eq!(text(&good, "lastRunAt"), "2026-03-01T12:00:00.000Z");
}

#[apply(on_both_engines)]
async fn a_version_says_which_events_use_it_and_what_it_costs(app: TestApp) {
    let plugin = app.install(bundled("login-streak")).await;
    let path = format!("/plugins/login-streak/versions/{}/usage", plugin.version);
    assert_eq!(
        app.read(&path).await,
        json!({"events": {"count": 0, "newestIds": []}, "fuel": null})
    );
    let mut ids = Vec::new();
    for days in 1..=22 {
        app.at(&format!("2026-03-01T12:{days:02}:00Z"));
        let event = app.event_on(&plugin, json!({"days": days}), json!({})).await;
        ids.insert(0, event["id"].clone());
    }
    let operator = app.operator().await;
    let gone = format!("/events/{}", ids.remove(0).as_str().expect("an id"));
    assert_eq!(app.delete(&gone).bearer(&operator).send().await.status, 204);
    let user = app.user(Role::User).await;
    let mut fuel = Vec::new();
    for id in &ids[..3] {
        let claim = app.claim(&user.token, &json!({"id": id})).send().await.expect(201);
        let receipt = app
            .read(&format!("/reward-requests/{}/receipt", text(&claim, "id")))
            .await;
        fuel.push(receipt["receipt"]["evaluation"]["fuel"].as_i64().expect("fuel"));
    }
    // A claim that the host decides uses no fuel.
    app.set_plugin("login-streak", &plugin.version, "DISABLED").await;
    app.claim(&user.token, &json!({"id": ids[3]})).send().await.expect(201);
    fuel.sort_unstable();
    let usage = app.read(&path).await;
    assert_eq!(usage["events"], json!({"count": 21, "newestIds": ids[..20]}));
    assert_eq!(usage["fuel"], json!({"p50": fuel[1], "p99": fuel[2], "runs": 3}));
    let all = app
        .read(&format!(
            "/events?plugin=login-streak&version={}&pageSize=200",
            plugin.version
        ))
        .await;
    assert_eq!(all["items"].as_array().map(Vec::len), Some(21));
    assert_eq!(
        app.read("/events?plugin=login-streak&version=0.0.0").await["items"],
        json!([])
    );
    app.get("/plugins/nobody/versions/1.0.0/usage")
        .bearer(&operator)
        .send()
        .await
        .expect_problem(404, "no-such-plugin");
}
