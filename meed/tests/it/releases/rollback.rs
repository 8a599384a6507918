//! Back to what was live, in one call.

use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{People, act, approve, days, five_days, propose, protected, put, state, streak, why};
use crate::support::{TestApp, event_input, on_both_engines, text, with};

/// A live release of the event as it is now.
async fn released(app: &TestApp, people: &People, event: &Value, days: i64) -> Value {
    let now = app.read(&format!("/events/{}", text(event, "id"))).await;
    let condition = json!({"plugin": "login-streak", "version": "1.0.0", "params": {"days": days}});
    let body = with(five_days(&now), json!({"condition": condition}));
    let release = propose(app, &people.author, body).await;
    approve(app, people, &release).await.expect(200);
    act(app, &people.author, &release, "activation", json!({}))
        .await
        .expect(200)
}

#[apply(on_both_engines)]
async fn one_person_rolls_back_in_one_call(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = released(&app, &people, &event, 5).await;
    // A harmless change meanwhile stays.
    put(&app, &people.author.token, &event, json!({"title": "Log in"}))
        .await
        .expect(200);
    let rolled_back = act(
        &app,
        &people.author,
        &release,
        "rollback",
        json!({"reason": "too many grants"}),
    )
    .await;
    let rolled_back = rolled_back.expect(200);
    assert_eq!(
        (text(&rolled_back, "state"), text(&rolled_back, "reason")),
        ("ROLLED_BACK", "too many grants")
    );
    let now = app.read(&format!("/events/{}", text(&event, "id"))).await;
    assert_eq!(
        (&now["condition"], text(&now, "title")),
        (&event["condition"], "Log in")
    );
    act(&app, &people.author, &release, "rollback", why())
        .await
        .expect_problem(409, "release-state");
}

#[apply(on_both_engines)]
async fn a_rollback_restores_the_terms_as_well(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let reward = app.reward(json!({"type": "POINT", "value": 500})).await;
    let terms = json!({"rewardIds": [reward["id"]], "maxQuantity": 5, "endDate": "2026-07-01T00:00:00Z"});
    let content = with(event_input(&event), terms);
    let proposal = json!({"eventId": event["id"], "eventRevision": 1, "title": "More", "event": content});
    let release = propose(&app, &people.author, proposal).await;
    approve(&app, &people, &release).await.expect(200);
    act(&app, &people.author, &release, "activation", json!({}))
        .await
        .expect(200);
    act(&app, &people.author, &release, "rollback", why()).await.expect(200);
    let now = app.read(&format!("/events/{}", text(&event, "id"))).await;
    for member in ["rewardIds", "maxQuantity", "endDate", "condition", "isActive"] {
        assert_eq!(now[member], event[member], "{member}");
    }
}

#[apply(on_both_engines)]
async fn what_was_never_live_before_is_stopped(app: TestApp) {
    let plugin = app.install(crate::support::bundled("first-come")).await;
    let body = app.event_body(&plugin, json!({}), json!({"isActive": false})).await;
    let event = app.create_event(&body).await.expect(201);
    let app = protected(&app);
    let people = People::of(&app).await;
    let content = with(event_input(&event), json!({"isActive": true}));
    let proposal = json!({"eventId": event["id"], "eventRevision": 1, "title": "Go live", "event": content});
    let release = propose(&app, &people.author, proposal).await;
    approve(&app, &people, &release).await.expect(200);
    let live = act(&app, &people.author, &release, "activation", json!({}))
        .await
        .expect(200);
    assert_eq!(live["previousRevision"], Value::Null);
    act(&app, &people.author, &release, "rollback", why()).await.expect(200);
    let now = app.read(&format!("/events/{}", text(&event, "id"))).await;
    assert_eq!(now["isActive"], false);
}

#[apply(on_both_engines)]
async fn a_paused_event_stays_paused_and_goes_on_as_it_was(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = released(&app, &people, &event, 5).await;
    let token = &people.author.token;
    put(&app, token, &event, json!({"isActive": false})).await.expect(200);
    act(&app, &people.author, &release, "rollback", why()).await.expect(200);
    let now = app.read(&format!("/events/{}", text(&event, "id"))).await;
    assert_eq!(
        (&now["isActive"], &now["condition"]),
        (&json!(false), &event["condition"])
    );
    // Not with what was rolled back.
    let bad =
        json!({"condition": {"plugin": "login-streak", "version": "1.0.0", "params": {"days": 5}}, "isActive": true});
    put(&app, token, &event, bad)
        .await
        .expect_problem(409, "release-required");
    put(&app, token, &event, json!({"isActive": true})).await.expect(200);
}

#[apply(on_both_engines)]
async fn the_newest_release_is_rolled_back_first(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let first = released(&app, &people, &event, 5).await;
    let second = released(&app, &people, &event, 3).await;
    let refused = act(&app, &people.author, &first, "rollback", why()).await;
    assert_eq!(
        refused.expect_problem(409, "release-superseded")["releaseId"],
        second["id"]
    );
    act(&app, &people.author, &second, "rollback", why()).await.expect(200);
    assert_eq!(days(&app, &event).await, 5);
    act(&app, &people.author, &first, "rollback", why()).await.expect(200);
    assert_eq!(days(&app, &event).await, 7);
    assert_eq!(state(&app, &first).await, "ROLLED_BACK");
}

#[apply(on_both_engines)]
async fn after_the_end_there_is_nothing_to_roll_back(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = released(&app, &people, &event, 5).await;
    app.at("2026-06-01T00:00:00Z");
    let author = crate::support::TestUser {
        token: app.log_in(&people.author).await,
        ..people.author.clone()
    };
    act(&app, &author, &release, "rollback", why())
        .await
        .expect_problem(409, "release-over");
}
