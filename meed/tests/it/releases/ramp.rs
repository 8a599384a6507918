//! From step to step, and back to nothing when something is wrong.

use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{People, act, approve, days, five_days, propose, protected, put, state, streak, why};
use crate::support::{TestApp, TestUser, on_both_engines, text, with};

fn ramp(event: &Value) -> Value {
    let steps = json!([{"permille": 0, "seconds": 60}, {"permille": 100, "seconds": 120}]);
    with(five_days(event), json!({"plan": {"steps": steps, "guard": null}}))
}

async fn running(app: &TestApp, people: &People, event: &Value) -> Value {
    let release = propose(app, &people.author, ramp(event)).await;
    approve(app, people, &release).await.expect(200);
    act(app, &people.author, &release, "activation", json!({}))
        .await
        .expect(200)
}

async fn candidate(app: &TestApp, event: &Value) -> Value {
    app.read(&format!("/events/{}", text(event, "id"))).await["candidate"].clone()
}

async fn run_at(app: &TestApp, at: &str) {
    app.at(at);
    app.app.releases.run_due().await.expect("a run");
}

#[apply(on_both_engines)]
async fn each_step_lasts_its_time_and_the_last_one_leads_to_live(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = running(&app, &people, &event).await;
    assert_eq!((text(&release, "state"), &release["step"]), ("RAMPING", &json!(0)));
    let shadow = candidate(&app, &event).await;
    assert_eq!(shadow["releaseId"], release["id"], "{shadow:#}");
    assert_eq!(days(&app, &event).await, 7);
    run_at(&app, "2026-03-01T12:00:59Z").await;
    assert_eq!(candidate(&app, &event).await, shadow);
    run_at(&app, "2026-03-01T12:01:10Z").await;
    let canary = candidate(&app, &event).await;
    assert_ne!(canary, shadow);
    let now = app.read(&format!("/releases/{}", text(&release, "id"))).await;
    assert_eq!(now["step"], 1);
    run_at(&app, "2026-03-01T12:03:00Z").await;
    assert_eq!(state(&app, &release).await, "RAMPING");
    run_at(&app, "2026-03-01T12:03:20Z").await;
    assert_eq!(
        (state(&app, &release).await.as_str(), days(&app, &event).await),
        ("LIVE", json!(5))
    );
    assert_eq!(candidate(&app, &event).await, Value::Null);
    // And back.
    let author = TestUser {
        token: app.log_in(&people.author).await,
        ..people.author.clone()
    };
    act(&app, &author, &release, "rollback", why()).await.expect(200);
    assert_eq!(days(&app, &event).await, 7);
}

#[apply(on_both_engines)]
async fn one_release_of_an_event_runs_at_a_time(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let first = running(&app, &people, &event).await;
    let now = app.read(&format!("/events/{}", text(&event, "id"))).await;
    let second = propose(&app, &people.author, five_days(&now)).await;
    approve(&app, &people, &second).await.expect(200);
    let refused = act(&app, &people.author, &second, "activation", json!({})).await;
    assert_eq!(refused.expect_problem(409, "release-running")["releaseId"], first["id"]);
}

#[apply(on_both_engines)]
async fn a_change_of_the_event_during_the_ramp_holds_it(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = running(&app, &people, &event).await;
    put(&app, &people.author.token, &event, json!({"title": "Log in"}))
        .await
        .expect(200);
    run_at(&app, "2026-03-01T12:00:10Z").await;
    let held = app.read(&format!("/releases/{}", text(&release, "id"))).await;
    assert_eq!(text(&held, "state"), "HELD");
    assert!(text(&held, "reason").contains("changed to revision"), "{held:#}");
    assert_eq!(candidate(&app, &event).await, Value::Null);
    // The approval was for another revision.
    act(&app, &people.approver, &release, "resumption", why())
        .await
        .expect_problem(412, "event-changed");
}

#[apply(on_both_engines)]
async fn anyone_holds_and_a_second_person_resumes_from_the_first_step(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = running(&app, &people, &event).await;
    run_at(&app, "2026-03-01T12:01:10Z").await;
    let held = act(&app, &people.author, &release, "hold", json!({"reason": "let us look"}))
        .await
        .expect(200);
    assert_eq!(
        (text(&held, "state"), &held["approvedBy"]),
        ("HELD", &json!(people.approver.id))
    );
    assert_eq!(candidate(&app, &event).await, Value::Null);
    // It stays held as time passes.
    run_at(&app, "2026-03-01T12:10:00Z").await;
    assert_eq!(state(&app, &release).await, "HELD");
    act(&app, &people.author, &release, "resumption", why())
        .await
        .expect_problem(403, "second-person-required");
    let resumed = act(&app, &people.approver, &release, "resumption", why())
        .await
        .expect(200);
    assert_eq!((text(&resumed, "state"), &resumed["step"]), ("RAMPING", &json!(0)));
    assert_eq!(candidate(&app, &event).await["releaseId"], release["id"]);
    let rolled_back = act(&app, &people.author, &release, "rollback", why()).await.expect(200);
    assert_eq!(text(&rolled_back, "state"), "ROLLED_BACK");
    assert_eq!(
        (candidate(&app, &event).await, days(&app, &event).await),
        (Value::Null, json!(7))
    );
}

#[apply(on_both_engines)]
async fn a_step_without_enough_claims_is_inconclusive_and_held(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let steps = json!({"plan": {"steps": [{"permille": 100, "seconds": 60}]}});
    let release = propose(&app, &people.author, with(five_days(&event), steps)).await;
    assert_eq!(release["plan"]["guard"]["minDecisions"], 200);
    approve(&app, &people, &release).await.expect(200);
    act(&app, &people.author, &release, "activation", json!({}))
        .await
        .expect(200);
    run_at(&app, "2026-03-01T12:00:59Z").await;
    assert_eq!(state(&app, &release).await, "RAMPING");
    run_at(&app, "2026-03-01T12:01:10Z").await;
    let held = app.read(&format!("/releases/{}", text(&release, "id"))).await;
    assert_eq!(text(&held, "state"), "HELD");
    assert!(text(&held, "reason").contains("0 decisions of 0 users"), "{held:#}");
    assert_eq!(candidate(&app, &event).await, Value::Null);
    assert_eq!(
        app.count("SELECT COUNT(*) FROM outbox WHERE kind = 'release.held'")
            .await,
        1
    );
}

#[apply(on_both_engines)]
async fn a_candidate_that_grants_what_was_denied_is_held(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    // A typing error: one day instead of five.
    let one_day = json!({
        "condition": {"plugin": "login-streak", "version": "1.0.0", "params": {"days": 1}},
        "plan": {
            "steps": [{"permille": 0, "seconds": 3600}],
            "guard": {"minDecisions": 20, "minUsers": 5, "denyToAllow": 50},
        },
    });
    let release = propose(&app, &people.author, with(five_days(&event), one_day)).await;
    approve(&app, &people, &release).await.expect(200);
    act(&app, &people.author, &release, "activation", json!({}))
        .await
        .expect(200);
    for user in app.crowd(40).await {
        let decided = app.claim(&app.log_in(&user).await, &event).send().await.expect(201);
        assert_eq!(text(&decided, "status"), "REJECTED");
    }
    app.app.trials.write().await.expect("the counts");
    run_at(&app, "2026-03-01T12:00:20Z").await;
    let held = app.read(&format!("/releases/{}", text(&release, "id"))).await;
    assert_eq!(text(&held, "state"), "HELD", "{held:#}");
    assert!(text(&held, "reason").contains("candidate grants"), "{held:#}");
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 0);
}

#[apply(on_both_engines)]
async fn a_deleted_event_ends_its_ramp(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = running(&app, &people, &event).await;
    let path = format!("/events/{}", text(&event, "id"));
    let deleted = app.delete(&path).bearer(&people.author.token).send().await;
    assert_eq!(deleted.status, 204);
    run_at(&app, "2026-03-01T12:01:10Z").await;
    assert_eq!(state(&app, &release).await, "ROLLED_BACK");
}
