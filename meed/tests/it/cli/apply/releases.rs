//! Events that the server protects: `apply` proposes releases.

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{Site, pair};
use crate::support::{TestApp, TestUser, each, on_both_engines, text};

/// A server that protects every live event, in real time.
async fn protected(app: &TestApp) -> Site {
    let settings = [("releases.required", "always"), ("auth.access_token_seconds", "86400")];
    let app = app.in_real_time().replica(&settings);
    let token = app.token(Role::Admin).await;
    let site = Site::with_token(app, token).await;
    site.install().await;
    site
}

async fn releases(site: &Site) -> Value {
    let call = site.app.get("/releases").bearer(&site.token);
    call.send().await.expect(200)["items"].clone()
}

async fn act(site: &Site, by: &TestUser, release: &Value, action: &str, body: Value) -> Value {
    let path = format!("/releases/{}/{action}", text(release, "id"));
    let call = site.app.post(&path).bearer(&by.token).json(&body);
    call.send().await.expect(200)
}

/// Others approve and activate the newest release.
async fn release(site: &Site) {
    let newest = releases(site).await[0].clone();
    let (admin, operator) = (site.app.user(Role::Admin).await, site.app.user(Role::Operator).await);
    let waived = act(site, &admin, &newest, "waiver", json!({"reason": "a test"})).await;
    act(site, &operator, &newest, "approval", json!({"hash": waived["hash"]})).await;
    act(site, &operator, &newest, "activation", json!({})).await;
}

#[apply(on_both_engines)]
async fn a_new_event_waits_inactive_for_its_release(app: TestApp) {
    let site = protected(&app).await;
    site.rules(&pair("Spring", 10));
    let plan = site.diff().code(2);
    assert!(
        plan.contains("becomes a release, which waits for its approval"),
        "{plan}"
    );
    let out = site.apply(&[]).code(2);
    assert!(
        out.contains("waits for its approval: create event \"streak\" (release "),
        "{out}"
    );
    assert_eq!(site.named("/events", "streak").await["isActive"], false);
    // A second run proposes nothing twice.
    let again = site.apply(&[]).code(2);
    assert!(again.contains("which is REVIEW"), "{again}");
    assert_eq!(releases(&site).await.as_array().map(Vec::len), Some(1));
    release(&site).await;
    assert_eq!(site.named("/events", "streak").await["isActive"], true);
    assert!(site.apply(&[]).code(0).contains("No changes"));
}

#[apply(on_both_engines)]
async fn a_change_that_gives_more_is_proposed_and_others_are_made(app: TestApp) {
    let site = protected(&app).await;
    site.rules(&pair("Spring", 10));
    site.apply(&[]).code(2);
    release(&site).await;
    site.rules(&pair("Summer", 10));
    site.apply(&[]).code(0);
    assert_eq!(text(&site.named("/events", "streak").await, "title"), "Summer");
    site.rules(&(pair("Summer", 10) + "    maxQuantity: 5\n"));
    let out = site.apply(&[]).code(2);
    assert!(out.contains("waits for its approval: change event \"streak\""), "{out}");
    assert_eq!(site.named("/events", "streak").await["maxQuantity"], 1);
    release(&site).await;
    assert_eq!(site.named("/events", "streak").await["maxQuantity"], 5);
    assert!(site.apply(&[]).code(0).contains("No changes"));
    assert_eq!(each(&releases(&site).await, "state"), ["LIVE", "LIVE"]);
}
