//! A shadow is compared with what is decided, and decides nothing.

use meed_host::auth::Role;
use meed_host::personal_data::PersonalData as _;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{Tried, claim, receipt, streak, users, written};
use crate::guests::Condition;
use crate::reward_requests::received::{Working, decided};
use crate::support::{TestApp, bundled, each, guest, on_both_engines, text, with};

#[apply(on_both_engines)]
async fn both_decisions_on_a_claim_are_compared_and_the_event_decides(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let tried = streak(&app, 1);
    tried.shadow(&app, &event).await;
    let all = users(&app, 2).await;
    let request = claim(&app, &all[0], &event).await;
    assert_eq!(
        (text(&request, "status"), &request["eventRevision"]),
        ("REJECTED", &json!(2))
    );
    assert_eq!(receipt(&app, &request).await["terms"]["params"], json!({"days": 7}));
    // A repeat says the same and counts once.
    claim(&app, &all[0], &event).await;
    let found = tried.divergences(&app, "").await;
    let [divergence] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(
        (
            text(divergence, "kind"),
            text(divergence, "decidedBy"),
            text(divergence, "userId")
        ),
        ("DENY_TO_ALLOW", "STABLE", all[0].id.as_str())
    );
    assert_eq!(divergence["requestId"], request["id"]);
    assert_eq!(divergence["stable"]["reasons"], request["reasons"]);
    assert_eq!(text(&divergence["candidate"], "status"), "GRANTED");
    assert_eq!(divergence["candidate"]["awards"].as_array().map(Vec::len), Some(1));

    claim(&app, &all[1], &event).await;
    let stable = tried.counts(&app, "STABLE").await;
    assert_eq!(
        (&stable["decisions"], &stable["users"], &stable["rejected"]),
        (&json!(2), &json!(2), &json!(2))
    );
    let candidate = tried.counts(&app, "CANDIDATE").await;
    assert_eq!((&candidate["granted"], &candidate["compared"]), (&json!(2), &json!(2)));
    assert_eq!(candidate["divergences"], json!({"DENY_TO_ALLOW": 2}));
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 0);
    // No run of the candidate counts for its plugin.
    app.app.plugins.write_usage().await.expect("written");
    let plugin = app.read("/plugins/login-streak/versions/1.0.0").await;
    assert_eq!(plugin["runs"], 3);
    let runs: u64 = candidate["fuel"]
        .as_array()
        .expect("parts")
        .iter()
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(runs, 2, "one more run per decision");
}

#[apply(on_both_engines)]
async fn divergences_are_listed_by_kind_newest_first_in_pages(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let tried = streak(&app, 1);
    tried.shadow(&app, &event).await;
    for user in users(&app, 3).await {
        claim(&app, &user, &event).await;
        written(&app).await;
    }
    let all = tried.divergences(&app, "").await;
    assert_eq!(all.len(), 3);
    assert_eq!(tried.divergences(&app, "kind=DENY_TO_ALLOW").await, all);
    assert_eq!(tried.divergences(&app, "kind=ALLOW_TO_DENY").await, Vec::<Value>::new());
    let path = format!("/releases/{}/divergences?pageSize=2", tried.release_id);
    let first = app.read(&path).await;
    let second = app
        .read(&format!("{path}&pageToken={}", text(&first, "nextPageToken")))
        .await;
    let ids = [each(&first["items"], "id"), each(&second["items"], "id")].concat();
    assert_eq!(ids, each(&json!(all), "id"));
    let bad = app
        .get(&format!("{path}&kind=ODD"))
        .bearer(&app.operator().await)
        .send()
        .await;
    bad.expect_problem(400, "invalid-parameter");
}

#[apply(on_both_engines)]
async fn pending_claims_are_compared_too(app: TestApp) {
    let event = app
        .event("login-streak", json!({"days": 7}), json!({"respondAsync": true}))
        .await;
    let tried = streak(&app, 1);
    tried.shadow(&app, &event).await;
    let user = app.user(Role::User).await;
    let pending = app.claim(&user.token, &event).send().await.expect(202);
    let working = Working::start(&app);
    let request = decided(&app, &pending).await;
    working.stop().await;
    assert_eq!(text(&request, "status"), "REJECTED");
    let found = tried.divergences(&app, "").await;
    assert_eq!(each(&json!(found), "kind"), ["DENY_TO_ALLOW"]);
}

#[apply(on_both_engines)]
async fn a_shadow_that_fails_harms_neither_the_claim_nor_its_plugin(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let trapping = Condition {
        evaluate: "(unreachable)",
        ..guest("trapping")
    };
    let plugin = app.install(trapping.module()).await;
    let tried = Tried {
        plugin: (plugin.name.clone(), plugin.version.clone()),
        ..Tried::new(&app, "trapping", json!({}))
    };
    tried.shadow(&app, &event).await;
    for user in users(&app, 12).await {
        assert_eq!(text(&claim(&app, &user, &event).await, "status"), "GRANTED");
    }
    let candidate = tried.counts(&app, "CANDIDATE").await;
    assert_eq!(candidate["failures"], json!({"trap": 12}));
    let found = tried.divergences(&app, "kind=FAILURE").await;
    assert_eq!((found.len(), text(&found[0]["candidate"], "failure")), (12, "trap"));
    let shown = app
        .read(&format!("/plugins/{}/versions/{}", plugin.name, plugin.version))
        .await;
    assert_eq!((text(&shown, "state"), &shown["failures"]), ("ACTIVE", &json!(0)));
    // A disabled plugin is a failure like any other.
    app.set_plugin(&plugin.name, &plugin.version, "DISABLED").await;
    let user = app.user(Role::User).await;
    assert_eq!(text(&claim(&app, &user, &event).await, "status"), "GRANTED");
    let candidate = tried.counts(&app, "CANDIDATE").await;
    assert_eq!(candidate["failures"], json!({"trap": 12, "plugin-disabled": 1}));
}

#[apply(on_both_engines)]
async fn facts_of_a_shadow_that_overflow_do_not_fail_the_claim(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    app.install(bundled("activity-count")).await;
    let tried = Tried::new(&app, "activity-count", json!({"kind": "shop.purchase", "sum": 5}));
    tried.shadow(&app, &event).await;
    let user = app.user(Role::User).await;
    let operator = app.operator().await;
    for batch in 0..10 {
        let purchase = |number: u32| {
            json!({
                "source": "shop", "id": format!("{batch}-{number}"), "userId": user.id, "kind": "shop.purchase",
                "amount": 1_000_000_000_000_i64,
            })
        };
        let purchases: Vec<Value> = (0..1000).map(purchase).collect();
        let call = app.post("/activities").bearer(&operator).json(&json!(purchases));
        let _ = call.send().await;
    }
    let request = claim(&app, &user, &event).await;
    assert_eq!(text(&request, "status"), "GRANTED");
}

#[apply(on_both_engines)]
async fn divergences_end_with_their_retention_and_with_their_user(app: TestApp) {
    let event = app
        .event(
            "login-streak",
            json!({"days": 7}),
            json!({"endDate": "2035-01-01T00:00:00Z"}),
        )
        .await;
    let tried = streak(&app, 1);
    tried.shadow(&app, &event).await;
    let all = users(&app, 2).await;
    for user in &all {
        claim(&app, user, &event).await;
    }
    assert_eq!(tried.divergences(&app, "").await.len(), 2);
    let user = all[0].id.parse().expect("an id");
    let shown = app.app.trials.show(user, None).await.expect("shown");
    assert_eq!((shown.items.len(), shown.next), (1, None));
    let erased = app.app.trials.erase(user, None).await.expect("erased");
    assert_eq!((erased.rows, erased.next), (1, None));
    let left = "SELECT COUNT(*) FROM release_divergences";
    assert_eq!(app.count(left).await, 1);
    assert_eq!(app.app.trials.sweep().await.expect("swept"), 0);
    app.at("2026-06-01T00:00:00Z");
    assert_eq!(app.app.trials.sweep().await.expect("swept"), 1);
    assert_eq!(app.count(left).await, 0);
}

#[apply(on_both_engines)]
async fn a_candidate_with_the_same_answers_diverges_nowhere(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let tried = streak(&app, 7);
    tried.shadow(&app, &event).await;
    let user = app.user(Role::User).await;
    claim(&app, &user, &event).await;
    let candidate = tried.counts(&app, "CANDIDATE").await;
    assert_eq!(
        (&candidate["compared"], &candidate["divergences"]),
        (&json!(1), &json!({}))
    );
    // The event keeps its candidate when something else changes.
    let event = app.read(&format!("/events/{}", text(&event, "id"))).await;
    assert_eq!(
        (
            text(&event["candidate"], "mode"),
            &event["candidate"]["condition"]["params"]
        ),
        ("SHADOW", &json!({"days": 7}))
    );
    let changed = app.change_event(&event, json!({"title": "Log in"})).await.expect(200);
    assert_eq!(changed["candidate"], event["candidate"]);
    let other = with(
        changed["condition"].clone(),
        json!({"params": {"days": 3}, "digest": null}),
    );
    let condition = json!({"plugin": other["plugin"], "version": other["version"], "params": other["params"]});
    app.change_event(&changed, json!({"condition": condition}))
        .await
        .expect_problem(409, "event-has-candidate");
}
