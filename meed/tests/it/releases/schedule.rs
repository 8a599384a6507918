//! Activation at a time, and as soon as it is approved.

use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{People, act, approve, days, five_days, propose, protected, state, streak};
use crate::support::{TestApp, on_both_engines, text, with};

fn at(event: &Value, at: &str) -> Value {
    with(five_days(event), json!({"plan": {"activateAt": at}}))
}

async fn run(app: &TestApp) {
    app.app.releases.run_due().await.expect("a run");
}

#[apply(on_both_engines)]
async fn an_armed_release_is_live_when_it_is_approved(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let armed = with(five_days(&event), json!({"plan": {"activateWhenApproved": true}}));
    let release = propose(&app, &people.author, armed).await;
    run(&app).await;
    assert_eq!(days(&app, &event).await, 7);
    let live = approve(&app, &people, &release).await.expect(200);
    assert_eq!(text(&live, "state"), "LIVE");
    assert_eq!(days(&app, &event).await, 5);
    // The event names its author, who asked for it.
    let changed = app.read(&format!("/events/{}/revisions", text(&event, "id"))).await;
    assert_eq!(text(&changed["items"][0], "changedBy"), people.author.id);
}

#[apply(on_both_engines)]
async fn a_process_that_died_after_the_approval_is_made_up_for(app: TestApp) {
    const FORGET: &str = "UPDATE releases SET state = 'APPROVED'";
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let later = at(&event, "2026-03-01T13:00:00Z");
    let release = propose(&app, &people.author, later).await;
    approve(&app, &people, &release).await.expect(200);
    let mut tx = app.begin().await;
    tx.query(FORGET).execute(&mut tx).await.expect("an update");
    tx.commit().await.expect("a commit");
    app.at("2026-03-01T13:00:00Z");
    // Any process does it, once.
    let other = protected(&app);
    run(&other).await;
    run(&app).await;
    assert_eq!(state(&app, &release).await, "LIVE");
    assert_eq!(app.count("SELECT revision FROM events").await, 2);
}

#[apply(on_both_engines)]
async fn an_approved_release_becomes_live_at_its_time(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, at(&event, "2026-03-02T00:00:00Z")).await;
    approve(&app, &people, &release).await.expect(200);
    app.at("2026-03-01T23:59:59.999Z");
    run(&app).await;
    assert_eq!(state(&app, &release).await, "APPROVED");
    app.at("2026-03-02T00:00:00Z");
    run(&app).await;
    assert_eq!(state(&app, &release).await, "LIVE");
    assert_eq!(days(&app, &event).await, 5);
}

#[apply(on_both_engines)]
async fn a_time_that_passes_before_the_approval_asks_a_person(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, at(&event, "2026-03-01T12:05:00Z")).await;
    app.at("2026-03-01T12:06:00Z");
    run(&app).await;
    run(&app).await;
    let told = "SELECT COUNT(*) FROM outbox WHERE kind = 'release.schedule-missed'";
    assert_eq!(app.count(told).await, 1);
    approve(&app, &people, &release).await.expect(200);
    app.at("2026-03-01T14:00:00Z");
    run(&app).await;
    assert_eq!(
        (state(&app, &release).await.as_str(), days(&app, &event).await),
        ("APPROVED", json!(7))
    );
    act(&app, &people.author, &release, "activation", json!({}))
        .await
        .expect(200);
    assert_eq!(days(&app, &event).await, 5);
}

#[apply(on_both_engines)]
async fn a_release_that_cannot_be_activated_at_its_time_asks_a_person(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, at(&event, "2026-03-01T12:30:00Z")).await;
    approve(&app, &people, &release).await.expect(200);
    let path = format!("/events/{}", text(&event, "id"));
    let deleted = app.delete(&path).bearer(&app.operator().await).send().await;
    assert_eq!(deleted.status, 204);
    app.at("2026-03-01T12:30:00Z");
    run(&app).await;
    let entries = app.read(&format!("/releases/{}/entries", text(&release, "id"))).await;
    let newest = &entries["items"][0];
    assert_eq!(text(newest, "action"), "SCHEDULE_MISSED");
    assert!(text(newest, "text").contains("no event"), "{newest:#}");
}
