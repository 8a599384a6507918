//! Every way around the approval. `host/src/releases.rs` lists them.

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{People, act, approve, days, five_days, propose, protected, put, streak};
use crate::event_groups::group;
use crate::service_keys;
use crate::support::{Reply, TestApp, bundled, event_input, guest, on_both_engines, padded, text, with};

fn required(reply: Reply, event: &Value) {
    let problem = reply.expect_problem(409, "release-required");
    assert_eq!(problem["eventId"], event["id"], "{problem:#}");
    let detail = text(&problem, "detail");
    assert!(
        detail.contains("POST /releases") && detail.contains("docs/releases.md"),
        "{detail}"
    );
}

#[apply(on_both_engines)]
async fn the_condition_of_a_live_event_does_not_change_by_put(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let other = json!({"condition": {"plugin": "login-streak", "version": "1.0.0", "params": {"days": 1}}});
    for role in [Role::Operator, Role::Admin] {
        let token = app.token(role).await;
        required(put(&app, &token, &event, other.clone()).await, &event);
    }
    let key = service_keys::secret(&app, "ci", &["events:read", "events:write"]).await;
    required(put(&app, &key, &event, other.clone()).await, &event);
    // Neither does what `meed apply` sends.
    let applied = with(other, json!({"applied": true, "acceptSlowReads": true}));
    required(put(&app, &key, &event, applied).await, &event);
    assert_eq!(days(&app, &event).await, 7);
    app.patch(&format!("/events/{}", text(&event, "id")))
        .bearer(&key)
        .json(&json!({}))
        .send()
        .await
        .expect_problem(405, "method-not-allowed");
}

#[apply(on_both_engines)]
async fn terms_that_give_more_need_a_release_and_others_do_not(app: TestApp) {
    group(&app, "welcome", 1).await;
    group(&app, "open", 1000).await;
    let terms = json!({
        "group": "welcome", "budget": {"period": "DAILY", "grants": 10, "amount": 1000}, "maxQuantity": 2,
        "recurrence": {"period": "DAILY", "count": 2},
    });
    let event = app.event("login-streak", json!({"days": 7}), terms).await;
    let other = app.reward(json!({"type": "POINT", "value": 100})).await;
    let app = protected(&app);
    let token = app.operator().await;
    for raised in [
        json!({"rewardIds": [other["id"]]}),
        json!({"rewardIds": [event["rewardIds"][0], other["id"]]}),
        json!({"budget": null}),
        json!({"budget": {"period": "DAILY", "grants": 11, "amount": 1000}}),
        json!({"budget": {"period": "DAILY", "grants": 10}}),
        json!({"recurrence": {"period": "DAILY", "count": 3}}),
        json!({"group": null}),
        json!({"group": "open"}),
        json!({"maxQuantity": 3}),
        json!({"endDate": "2026-06-02T00:00:00Z"}),
    ] {
        required(put(&app, &token, &event, raised).await, &event);
    }
    for lowered in [
        json!({"title": "Other", "description": "d", "tags": ["t"], "respondAsync": true}),
        json!({"budget": {"period": "DAILY", "grants": 9, "amount": 1000}}),
        json!({"recurrence": {"period": "DAILY", "count": 1}}),
        json!({"maxQuantity": 1}),
        json!({"endDate": "2026-05-31T00:00:00Z"}),
        json!({"isActive": false}),
    ] {
        put(&app, &token, &event, lowered).await.expect(200);
    }
    // The start and the zone of a started event do not change at all; those of a later one need a release.
    let later = json!({"startDate": "2026-04-01T00:00:00Z"});
    let body = app.event_body_of("login-streak", "1.0.0").await;
    let never = app.replica(&[("releases.required", "never")]);
    let body = with(
        with(body, later),
        json!({"condition": event_input(&event)["condition"]}),
    );
    let future = never.create_event(&body).await.expect(201);
    for raised in [
        json!({"startDate": "2026-03-31T00:00:00Z"}),
        json!({"timeZone": "Asia/Seoul"}),
        json!({"recurrence": {"period": "DAILY", "count": 1}}),
    ] {
        required(put(&app, &token, &future, raised).await, &future);
    }
}

#[apply(on_both_engines)]
async fn a_pause_is_no_way_around(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let token = app.operator().await;
    let change =
        |days: i64| json!({"condition": {"plugin": "login-streak", "version": "1.0.0", "params": {"days": days}}});
    put(&app, &token, &event, json!({"isActive": false})).await.expect(200);
    // A paused event gives nothing out, so it may change; but not become active with it.
    put(&app, &token, &event, change(1)).await.expect(200);
    required(put(&app, &token, &event, json!({"isActive": true})).await, &event);
    // In two steps of which each is harmless.
    put(&app, &token, &event, json!({"title": "Again"})).await.expect(200);
    required(put(&app, &token, &event, json!({"isActive": true})).await, &event);
    // As it was live, it may go on.
    put(&app, &token, &event, change(7)).await.expect(200);
    put(&app, &token, &event, json!({"isActive": true})).await.expect(200);
}

#[apply(on_both_engines)]
async fn neither_is_a_deletion_and_another_event(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let token = app.operator().await;
    let deleted = app.delete(&format!("/events/{}", text(&event, "id"))).bearer(&token);
    assert_eq!(deleted.send().await.status, 204);
    let body = with(event_input(&event), json!({"name": "again"}));
    app.create_event(&body).await.expect_problem(409, "release-required");
    assert_eq!(
        app.count("SELECT COUNT(*) FROM events WHERE deleted_at IS NULL").await,
        0
    );
    // Inactive, it waits for its release.
    let inactive = app
        .create_event(&with(body.clone(), json!({"isActive": false})))
        .await
        .expect(201);
    required(put(&app, &token, &inactive, json!({"isActive": true})).await, &inactive);
    let people = People::of(&app).await;
    let content = with(event_input(&inactive), json!({"isActive": true}));
    let proposal = json!({"eventId": inactive["id"], "eventRevision": 1, "title": "Go live", "event": content});
    let release = propose(&app, &people.author, proposal).await;
    approve(&app, &people, &release).await.expect(200);
    act(&app, &people.author, &release, "activation", json!({}))
        .await
        .expect(200);
    let live = app.read(&format!("/events/{}", text(&inactive, "id"))).await;
    assert_eq!(live["isActive"], true);
}

#[apply(on_both_engines)]
async fn a_reward_of_a_live_event_does_not_give_more_or_something_else(app: TestApp) {
    let reward = json!({"type": "POINT", "value": 100, "stock": 10, "itemId": "sticker", "duration": "P1D"});
    let reward_of = app.reward(reward.clone()).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward_of["id"]]}))
        .await;
    let app = protected(&app);
    let token = app.operator().await;
    let path = format!("/rewards/{}", text(&reward_of, "id"));
    let change = async |changes: Value| {
        let call = app.put(&path).bearer(&token).header("if-match", "*");
        call.json(&with(reward.clone(), changes)).send().await
    };
    for raised in [
        json!({"stock": 11}),
        json!({"stock": null}),
        json!({"value": 101}),
        json!({"value": null}),
        json!({"type": "ITEM"}),
        json!({"itemId": "car"}),
        json!({"duration": "P2D"}),
    ] {
        required(change(raised).await, &event);
    }
    // Also while the event is paused.
    put(&app, &token, &event, json!({"isActive": false})).await.expect(200);
    required(change(json!({"value": 101})).await, &event);
    for harmless in [json!({"description": "A sticker"}), json!({"stock": 9})] {
        change(harmless).await.expect(200);
    }
    // A reward that no event offers is free, and a release can offer it.
    let call = app
        .post("/rewards")
        .bearer(&token)
        .json(&with(reward.clone(), json!({"stock": 1000})));
    call.send().await.expect(201);
}

#[apply(on_both_engines)]
async fn codes_are_a_stock_too(app: TestApp) {
    let reward = app.reward(json!({"type": "COUPON", "codes": true})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let app = protected(&app);
    let path = format!("/rewards/{}/codes", text(&reward, "id"));
    let call = app.post(&path).bearer(&app.operator().await);
    required(call.bytes("text/plain", "one\ntwo").send().await, &event);
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_codes").await, 0);
}

#[apply(on_both_engines)]
async fn the_limit_of_a_group_does_not_rise(app: TestApp) {
    group(&app, "welcome", 1).await;
    let event = app.event("first-come", json!({}), json!({"group": "welcome"})).await;
    let app = protected(&app);
    let token = app.operator().await;
    let change = async |max: u32| {
        let call = app.put("/event-groups/welcome").bearer(&token).header("if-match", "*");
        call.json(&json!({"maxPerUser": max})).send().await
    };
    required(change(2).await, &event);
    change(1).await.expect(200);
}

#[apply(on_both_engines)]
async fn only_what_can_still_give_out_more_than_the_limit_is_protected(app: TestApp) {
    let app = app.replica(&[("releases.required", "above-liability"), ("releases.liability", "1000")]);
    let token = app.operator().await;
    let reward = app.reward(json!({"type": "POINT", "value": 100, "stock": 10})).await;
    let offer = json!({"rewardIds": [reward["id"]]});
    // 10 x 100 is not above 1000.
    let event = app.event("login-streak", json!({"days": 7}), offer.clone()).await;
    let change =
        |days: i64| json!({"condition": {"plugin": "login-streak", "version": "1.0.0", "params": {"days": days}}});
    put(&app, &token, &event, change(6)).await.expect(200);
    // First a small stock, then a larger one.
    let path = format!("/rewards/{}", text(&reward, "id"));
    let stock = async |stock: i64| {
        let call = app.put(&path).bearer(&token).header("if-match", "*");
        let body = json!({"type": "POINT", "value": 100, "stock": stock});
        call.json(&body).send().await
    };
    required(stock(11).await, &event);
    // A small budget on a large stock, and then a larger one.
    let rich = app.reward(json!({"type": "POINT", "value": 100, "stock": 1000})).await;
    let small = json!({"rewardIds": [rich["id"]], "budget": {"period": "ONCE", "amount": 1000}});
    let budgeted = app.event("login-streak", json!({"days": 7}), small).await;
    put(&app, &token, &budgeted, change(1)).await.expect(200);
    for large in [
        json!({"budget": {"period": "ONCE", "amount": 1001}}),
        json!({"budget": null}),
    ] {
        required(put(&app, &token, &budgeted, large).await, &budgeted);
    }
    // Without a limit it is above every number.
    let unlimited = app
        .event_body(&app.install(bundled("first-come")).await, json!({}), json!({}))
        .await;
    app.create_event(&unlimited)
        .await
        .expect_problem(409, "release-required");
}

#[apply(on_both_engines)]
async fn a_release_is_of_bytes_and_not_of_a_name(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let plugin = app.install(guest("sesame").module()).await;
    let condition = json!({"plugin": plugin.name, "version": plugin.version, "params": {}});
    let release = propose(
        &app,
        &people.author,
        with(five_days(&event), json!({"condition": condition})),
    )
    .await;
    assert_eq!(release["pluginDigest"], plugin.digest.to_string());
    // Other bytes under the same name and version.
    let other = app.upload(padded(guest("sesame").module(), "other")).await;
    assert_eq!(other.status, 409, "{:#}", other.json);
    approve(&app, &people, &release).await.expect(200);
    // A disabled plugin is not activated; enabled again, it is what was approved.
    app.set_plugin(&plugin.name, &plugin.version, "DISABLED").await;
    act(&app, &people.author, &release, "activation", json!({}))
        .await
        .expect_problem(422, "invalid-body");
    app.set_plugin(&plugin.name, &plugin.version, "ACTIVE").await;
    act(&app, &people.author, &release, "activation", json!({}))
        .await
        .expect(200);
    let live = app.read(&format!("/events/{}", text(&event, "id"))).await;
    assert_eq!(live["condition"]["digest"], plugin.digest.to_string());
}

#[apply(on_both_engines)]
async fn an_activation_trusts_no_state_but_the_content(app: TestApp) {
    const EDIT: &str = "UPDATE releases SET event_revision = event_revision, plan = $1";
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, five_days(&event)).await;
    approve(&app, &people, &release).await.expect(200);
    // Content that changed without an edit, as by a faulty caller.
    let mut tx = app.begin().await;
    let plan = meed_host::db::Json(json!({"steps": [], "activateWhenApproved": true, "activateAt": null}));
    tx.query(EDIT).bind(plan).execute(&mut tx).await.expect("an edit");
    tx.commit().await.expect("a commit");
    act(&app, &people.author, &release, "activation", json!({}))
        .await
        .expect_problem(409, "release-hash");
    assert_eq!(days(&app, &event).await, 7);
}
