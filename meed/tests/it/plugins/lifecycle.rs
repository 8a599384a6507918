//! States, history and quarantine: `PATCH /plugins/{name}/versions/{version}` and `…/history`

use std::time::Duration;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{path_of, set_state};
use crate::guests::{Condition, ENDLESS};
use crate::support::{TestApp, TestUser, assert_fault, bundled, each, guest, on_both_engines, padded, text};

/// Limits that a test can reach.
const RULES: &[(&str, &str)] = &[("plugins.quarantine.failures", "6"), ("plugins.quarantine.users", "3")];

async fn hostile(app: &TestApp) -> (String, Value) {
    let plugin = app
        .install(
            Condition {
                evaluate: "(unreachable)",
                ..guest("hostile")
            }
            .module(),
        )
        .await;
    let event = app.event_on(&plugin, json!({}), json!({})).await;
    (format!("/plugins/hostile/versions/{}", plugin.version), event)
}

/// Claims, and returns the reason of the failure.
async fn failed(app: &TestApp, user: &TestUser, event: &Value) -> String {
    let claim = app.claim(&user.token, event).send().await.expect(201);
    assert_eq!((text(&claim, "status"), &claim["retryable"]), ("FAILED", &json!(true)));
    assert_eq!(claim["grants"], json!([]));
    text(&claim["reasons"][0], "code").to_owned()
}

async fn actions(app: &TestApp, path: &str) -> Vec<String> {
    let history = app.read(&format!("{path}/history")).await;
    each(&history["items"], "action")
        .into_iter()
        .map(str::to_owned)
        .collect()
}

#[apply(on_both_engines)]
async fn a_plugin_that_fails_for_many_users_is_quarantined_and_released(app: TestApp) {
    let server = app.replica(RULES);
    let (path, event) = hostile(&app).await;
    let crowd = app.crowd(4).await;
    // Six failures of two users, then one of a third.
    for run in 0..6 {
        assert_eq!(failed(&server, &crowd[run % 2], &event).await, "condition-failed");
    }
    assert_eq!(app.read(&path).await["state"], "ACTIVE");
    assert_eq!(failed(&server, &crowd[2], &event).await, "condition-failed");
    assert_eq!(app.read(&path).await["state"], "QUARANTINED");
    assert_eq!(failed(&server, &crowd[3], &event).await, "plugin-quarantined");
    let progress = format!("/events/{}/progress", text(&event, "id"));
    server
        .get(&progress)
        .bearer(&crowd[3].token)
        .send()
        .await
        .expect_problem(503, "condition-failed");

    let entry = app.read(&format!("{path}/history")).await["items"][0].clone();
    assert_eq!((text(&entry, "action"), &entry["by"]), ("QUARANTINED", &Value::Null));
    let detail = "7 of 7 runs failed within 300 s, for at least 3 users; the last failure was trap";
    assert_eq!(text(&entry, "detail"), detail);

    // A new event cannot use it, but it can be simulated.
    let reply = app.create_event(&app.event_body_of("hostile", "1.2.3").await).await;
    assert_fault(reply, "/condition/version");
    let operator = app.operator().await;
    let simulation = json!({"params": {}, "facts": []});
    let simulated = app
        .post(&format!("{path}/simulate"))
        .bearer(&operator)
        .json(&simulation)
        .send()
        .await
        .expect(200);
    assert_eq!(simulated["failure"]["code"], "trap");

    // After the release it has a new window.
    set_state(&server, &path, json!({"state": "ACTIVE"}), &operator)
        .await
        .expect(200);
    for run in 0..5 {
        assert_eq!(failed(&server, &crowd[run % 4], &event).await, "condition-failed");
    }
    assert_eq!(app.read(&path).await["state"], "ACTIVE");
    assert_eq!(failed(&server, &crowd[1], &event).await, "condition-failed");
    assert_eq!(app.read(&path).await["state"], "QUARANTINED");
    set_state(&server, &path, json!({"state": "DISABLED"}), &operator)
        .await
        .expect(200);
    assert_eq!(failed(&server, &crowd[0], &event).await, "plugin-disabled");
    set_state(&server, &path, json!({"state": "ACTIVE"}), &operator)
        .await
        .expect(200);
    assert_eq!(
        actions(&app, &path).await,
        [
            "ENABLED",
            "DISABLED",
            "QUARANTINED",
            "RELEASED",
            "QUARANTINED",
            "UPLOADED"
        ]
    );
}

#[apply(on_both_engines)]
async fn neither_one_user_nor_progress_requests_cause_a_quarantine(app: TestApp) {
    let server = app.replica(&[("plugins.quarantine.failures", "3"), ("plugins.quarantine.users", "2")]);
    let (path, event) = hostile(&app).await;
    let crowd = app.crowd(3).await;
    for _ in 0..10 {
        assert_eq!(failed(&server, &crowd[0], &event).await, "condition-failed");
    }
    let progress = format!("/events/{}/progress", text(&event, "id"));
    for user in &crowd {
        server
            .get(&progress)
            .bearer(&user.token)
            .send()
            .await
            .expect_problem(503, "condition-failed");
    }
    assert_eq!(app.read(&path).await["state"], "ACTIVE");
    failed(&server, &crowd[1], &event).await;
    assert_eq!(app.read(&path).await["state"], "QUARANTINED");
}

#[apply(on_both_engines)]
async fn successful_runs_lower_the_failure_rate_and_old_runs_do_not_count(app: TestApp) {
    let server = app.replica(&[("plugins.quarantine.failures", "2"), ("plugins.quarantine.users", "1")]);
    // It uses all fuel for users with a level, and grants to all others.
    let plugin = app
        .install(
            Condition {
                evaluate: ENDLESS,
                ..guest("endless")
            }
            .module(),
        )
        .await;
    let event = app.event_on(&plugin, json!({}), json!({})).await;
    let path = format!("/plugins/endless/versions/{}", plugin.version);
    let user = app.user(Role::User).await;
    for hour in 12..20 {
        app.at(&format!("2026-03-01T{hour}:00:00Z"));
        let token = app.log_in(&user).await;
        server.claim(&token, &event).send().await.expect(201);
    }
    assert_eq!(app.read(&path).await["state"], "ACTIVE", "an hour lies between any two");
    let token = app.log_in(&user).await;
    server.claim(&token, &event).send().await.expect(201);
    assert_eq!(app.read(&path).await["state"], "QUARANTINED");
}

#[apply(on_both_engines)]
async fn other_processes_learn_of_a_quarantine(app: TestApp) {
    let (server, other) = (app.replica(RULES), app.replica(RULES));
    let (path, event) = hostile(&app).await;
    let crowd = app.crowd(6).await;
    // The other process has cached it as active, and counts its own failures.
    for user in &crowd[..2] {
        assert_eq!(failed(&other, user, &event).await, "condition-failed");
    }
    for user in &crowd {
        failed(&server, user, &event).await;
    }
    assert_eq!(app.read(&path).await["state"], "QUARANTINED");
    let started = std::time::Instant::now();
    while failed(&other, &crowd[0], &event).await != "plugin-quarantined" {
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "the other process still trusts its cache"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Both processes reached the limit; the version was quarantined once.
    assert_eq!(actions(&app, &path).await, ["QUARANTINED", "UPLOADED"]);
}

#[apply(on_both_engines)]
async fn concurrent_failures_quarantine_the_plugin_once(app: TestApp) {
    let server = app.replica(RULES);
    let (path, event) = hostile(&app).await;
    let crowd = app.crowd(16).await;
    let claims: Vec<_> = crowd
        .iter()
        .map(|user| tokio::spawn(server.claim(&user.token, &event).send()))
        .collect();
    for claim in claims {
        assert_eq!(claim.await.expect("an answer").expect(201)["status"], "FAILED");
    }
    assert_eq!(actions(&app, &path).await, ["QUARANTINED", "UPLOADED"]);
}

#[apply(on_both_engines)]
async fn the_quarantine_can_be_disabled(app: TestApp) {
    let server = app.replica(&[("plugins.quarantine.failures", "0"), ("plugins.quarantine.users", "1")]);
    let (path, event) = hostile(&app).await;
    for user in &app.crowd(8).await {
        failed(&server, user, &event).await;
    }
    assert_eq!(app.read(&path).await["state"], "ACTIVE");
}

#[apply(on_both_engines)]
async fn only_the_server_can_set_quarantined(app: TestApp) {
    let path = path_of(&app.upload(bundled("first-come")).await.expect(201));
    let operator = app.operator().await;
    let reply = set_state(&app, &path, json!({"state": "QUARANTINED"}), &operator).await;
    let problem = reply.expect_problem(422, "invalid-body");
    assert_eq!(problem["errors"][0]["pointer"], "/state");
    assert!(text(&problem, "detail").contains("only the server"), "{problem:#}");
    assert_eq!(app.read(&path).await["state"], "ACTIVE");
}

#[apply(on_both_engines)]
async fn the_history_names_the_actors_and_remains(app: TestApp) {
    let module = bundled("first-come");
    let path = path_of(&app.upload(module.clone()).await.expect(201));
    let (operator, admin) = (app.operator().await, app.user(Role::Admin).await);
    for (state, token) in [
        ("DISABLED", &operator),
        ("DISABLED", &operator),
        ("ACTIVE", &admin.token),
    ] {
        set_state(&app, &path, json!({"state": state}), token).await.expect(200);
    }
    let history = app.read(&format!("{path}/history")).await;
    assert_eq!(each(&history["items"], "action"), ["ENABLED", "DISABLED", "UPLOADED"]);
    let version = app.read(&path).await;
    let by = history["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|entry| entry["by"].clone())
        .collect::<Vec<_>>();
    assert_eq!(
        by,
        [
            json!(admin.id),
            version["uploadedBy"].clone(),
            version["uploadedBy"].clone()
        ]
    );
    // Each entry is later than the one before, even at the same instant of the clock.
    assert_eq!(text(&history["items"][0], "at"), "2026-03-01T12:00:00.002Z");

    let page = app.read(&format!("{path}/history?pageSize=2")).await;
    assert_eq!(each(&page["items"], "action"), ["ENABLED", "DISABLED"]);
    let rest = app
        .read(&format!(
            "{path}/history?pageSize=2&pageToken={}",
            text(&page, "nextPageToken")
        ))
        .await;
    assert_eq!(each(&rest["items"], "action"), ["UPLOADED"]);
    assert_eq!(rest["nextPageToken"], Value::Null);

    assert_eq!(app.delete(&path).bearer(&operator).send().await.status, 204);
    app.get(&format!("{path}/history"))
        .bearer(&operator)
        .send()
        .await
        .expect_problem(404, "no-such-plugin");
    app.upload(module).await.expect(201);
    assert_eq!(
        actions(&app, &path).await,
        ["UPLOADED", "DELETED", "ENABLED", "DISABLED", "UPLOADED"]
    );
}

#[apply(on_both_engines)]
async fn a_version_of_an_earlier_event_revision_cannot_be_deleted(app: TestApp) {
    let first = app.upload(bundled("first-come")).await.expect(201);
    let event = app.event("first-come", json!({}), json!({})).await;
    let other = app.install(guest("other").module()).await;
    let condition = json!({"plugin": other.name, "version": other.version, "params": {}});
    app.change_event(&event, json!({"condition": condition}))
        .await
        .expect(200);
    // There is no claim, and no event uses it now; but an earlier revision refers to it.
    let operator = app.operator().await;
    app.delete(&path_of(&first))
        .bearer(&operator)
        .send()
        .await
        .expect_problem(409, "plugin-in-use");
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 0);
    let unused = app.upload(padded(guest("unused").module(), "x")).await.expect(201);
    assert_eq!(app.delete(&path_of(&unused)).bearer(&operator).send().await.status, 204);
}

#[apply(on_both_engines)]
async fn of_concurrent_deletions_one_deletes_the_version(app: TestApp) {
    let plugin = app.install(padded(bundled("first-come"), "to be deleted")).await;
    let path = format!("/plugins/first-come/versions/{}", plugin.version);
    let admin = app.user(Role::Admin).await;
    let deletions = (0..4).map(|_| app.delete(&path).bearer(&admin.token).send());
    let mut statuses: Vec<u16> = futures_util::future::join_all(deletions)
        .await
        .into_iter()
        .map(|reply| reply.status.as_u16())
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 404, 404, 404]);
    for sql in [
        "SELECT COUNT(*) FROM outbox WHERE kind = 'plugin.deleted'",
        "SELECT COUNT(*) FROM plugin_history WHERE action = 'DELETED'",
    ] {
        assert_eq!(app.count(sql).await, 1, "{sql}");
    }
}
