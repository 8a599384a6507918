//! A canary decides for a share of the users, always the same ones.

use std::collections::BTreeSet;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{Tried, assert_replays, claim, receipt, streak, users};
use crate::guests::Condition;
use crate::reward_requests::received::{Working, decided};
use crate::support::{TestApp, TestUser, bundled, guest, on_both_engines, reviewing, text};

/// The users for whom the candidate decides: it grants what the event's condition refuses.
async fn chosen(app: &TestApp, users: &[TestUser], event: &Value) -> BTreeSet<String> {
    let mut chosen = BTreeSet::new();
    for user in users {
        let path = format!("/events/{}/progress", text(event, "id"));
        let progress = app.get(&path).bearer(&user.token).send().await.expect(200);
        if progress["eligible"] == true {
            chosen.insert(user.id.clone());
        }
    }
    chosen
}

#[apply(on_both_engines)]
async fn a_larger_share_only_adds_users_and_a_new_release_takes_the_same(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let all = users(&app, 40).await;
    let tried = streak(&app, 1);
    let mut before = BTreeSet::new();
    let mut at_300 = BTreeSet::new();
    for permille in [0, 100, 300, 700, 1000] {
        tried.canary(&app, &event, permille).await;
        let now = chosen(&app, &all, &event).await;
        assert!(before.is_subset(&now), "{permille}");
        if permille == 300 {
            at_300.clone_from(&now);
        }
        before = now;
    }
    assert_eq!(before.len(), all.len());
    assert!((3..=22).contains(&at_300.len()), "{}", at_300.len());
    tried.clear(&app, &event).await;
    assert_eq!(chosen(&app, &all, &event).await, BTreeSet::new());
    let again = streak(&app, 1);
    again.canary(&app, &event, 300).await;
    assert_eq!(chosen(&app, &all, &event).await, at_300);
    // Another process takes the same.
    assert_eq!(chosen(&app.replica(&[]), &all, &event).await, at_300);
    // A claim is decided as its user's progress says.
    for user in &all {
        let request = claim(&app, user, &event).await;
        let expected = if at_300.contains(&user.id) {
            "GRANTED"
        } else {
            "REJECTED"
        };
        assert_eq!(text(&request, "status"), expected);
    }
    let (stable, candidate) = (
        again.counts(&app, "STABLE").await,
        again.counts(&app, "CANDIDATE").await,
    );
    assert_eq!(candidate["granted"], json!(at_300.len()));
    assert_eq!(candidate["divergences"], json!({"DENY_TO_ALLOW": at_300.len()}));
    assert_eq!(stable["rejected"], json!(all.len() - at_300.len()));
    // A user for whom the event's condition decides costs no second run.
    assert_eq!(stable["compared"], 0);
}

#[apply(on_both_engines)]
async fn the_receipt_names_the_condition_that_decided(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let tried = streak(&app, 1);
    let user = app.user(Role::User).await;
    tried.canary(&app, &event, 0).await;
    let rejected = claim(&app, &user, &event).await;
    let signed = receipt(&app, &rejected).await;
    assert_eq!(signed["terms"]["params"], json!({"days": 7}));
    assert_replays(&app, &signed, bundled("login-streak")).await;

    tried.canary(&app, &event, 1000).await;
    let granted = claim(&app, &user, &event).await;
    assert_eq!(text(&granted, "status"), "GRANTED");
    let signed = receipt(&app, &granted).await;
    assert_eq!(
        (&signed["terms"]["params"], &signed["terms"]["eventRevision"]),
        (&json!({"days": 1}), &json!(3))
    );
    assert_replays(&app, &signed, bundled("login-streak")).await;

    // The grant stands when the release is gone, also for a repeat and its reversal.
    tried.clear(&app, &event).await;
    app.claim(&user.token, &event)
        .send()
        .await
        .expect_problem(409, "already-granted");
    let path = format!("/reward-requests/{}/reversal", text(&granted, "id"));
    let reversal = app
        .post(&path)
        .bearer(&app.operator().await)
        .json(&json!({"reason": "a mistake"}));
    reversal.send().await.expect(201);
    assert_eq!(text(&claim(&app, &user, &event).await, "status"), "REJECTED");
    assert_replays(&app, &signed, bundled("login-streak")).await;
}

#[apply(on_both_engines)]
async fn a_candidate_that_fails_leaves_the_decision_to_the_event(app: TestApp) {
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
    tried.canary(&app, &event, 1000).await;
    for user in users(&app, 12).await {
        let request = claim(&app, &user, &event).await;
        assert_eq!(text(&request, "status"), "GRANTED");
        let signed = receipt(&app, &request).await;
        assert_eq!(text(&signed["terms"]["plugin"], "name"), "first-come");
        assert_replays(&app, &signed, bundled("first-come")).await;
    }
    let candidate = tried.counts(&app, "CANDIDATE").await;
    assert_eq!(
        (&candidate["failures"], &candidate["granted"]),
        (&json!({"trap": 12}), &json!(12))
    );
    let shown = app
        .read(&format!("/plugins/{}/versions/{}", plugin.name, plugin.version))
        .await;
    assert_eq!(text(&shown, "state"), "ACTIVE");
}

#[apply(on_both_engines)]
async fn the_same_words_of_the_other_condition_are_another_rejection(app: TestApp) {
    let rejecting = |name: &str| {
        let mut guest = guest(name);
        if let Ok(decision) = &mut guest.decision {
            decision.outcome = meed_host::contract::Outcome::NotEligible;
            decision.awards = meed_host::contract::Awards::Chosen(Vec::new());
        }
        guest.module()
    };
    let (one, other) = (
        app.install(rejecting("one")).await,
        app.install(rejecting("other")).await,
    );
    let event = app.event_on(&one, json!({}), json!({})).await;
    let tried = Tried {
        plugin: (other.name.clone(), other.version.clone()),
        ..Tried::new(&app, "other", json!({}))
    };
    tried.canary(&app, &event, 1000).await;
    let user = app.user(Role::User).await;
    app.set_plugin(&other.name, &other.version, "DISABLED").await;
    let fallback = claim(&app, &user, &event).await;
    assert_eq!(fallback["pluginDigest"], json!(one.digest));
    app.set_plugin(&other.name, &other.version, "ACTIVE").await;
    let own = claim(&app, &user, &event).await;
    assert_eq!(own["pluginDigest"], json!(other.digest));
    assert_eq!(own["reasons"], fallback["reasons"]);
    assert_ne!(own["id"], fallback["id"]);
    assert_eq!(text(&receipt(&app, &own).await["terms"]["plugin"], "name"), "other");
    assert_eq!(claim(&app, &user, &event).await["id"], own["id"]);
}

#[apply(on_both_engines)]
async fn a_claim_that_the_candidate_holds_is_reviewed_under_its_terms(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let module = reviewing("careful").module();
    let plugin = app.install(module.clone()).await;
    let tried = Tried {
        plugin: (plugin.name.clone(), plugin.version.clone()),
        ..Tried::new(&app, "careful", json!({}))
    };
    tried.canary(&app, &event, 1000).await;
    let user = app.user(Role::User).await;
    let held = app.claim(&user.token, &event).send().await;
    let held = held.expect(201);
    assert_eq!(text(&held, "status"), "HELD");
    let candidate = tried.divergences(&app, "kind=REVIEW").await;
    assert_eq!(candidate.len(), 1);
    tried.clear(&app, &event).await;
    let path = format!("/reward-requests/{}/approval", text(&held, "id"));
    let operator = app.operator().await;
    app.post(&path)
        .bearer(&operator)
        .json(&json!({"reason": "all fine"}))
        .send()
        .await
        .expect(200);
    let request = app.read(&format!("/reward-requests/{}", text(&held, "id"))).await;
    assert_eq!(
        (text(&request, "status"), &request["pluginDigest"]),
        ("GRANTED", &json!(plugin.digest))
    );
    assert_replays(&app, &receipt(&app, &request).await, module).await;
}

#[apply(on_both_engines)]
async fn a_step_takes_effect_for_a_claim_that_began_before_it(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let all = users(&app, 1).await;
    // This process has the event in memory now, and no invalidation arrives.
    assert_eq!(chosen(&app, &all, &event).await, BTreeSet::new());
    let tried = streak(&app, 1);
    tried.canary(&app.replica(&[]), &event, 1000).await;
    let request = claim(&app, &all[0], &event).await;
    assert_eq!(
        (text(&request, "status"), &request["eventRevision"]),
        ("GRANTED", &json!(2))
    );
    assert_eq!(receipt(&app, &request).await["terms"]["params"], json!({"days": 1}));
}

#[apply(on_both_engines)]
async fn a_pending_claim_is_decided_by_the_step_at_its_decision(app: TestApp) {
    let event = app
        .event("login-streak", json!({"days": 7}), json!({"respondAsync": true}))
        .await;
    let user = app.user(Role::User).await;
    let pending = app.claim(&user.token, &event).send().await.expect(202);
    let tried = streak(&app, 1);
    tried.canary(&app, &event, 1000).await;
    let working = Working::start(&app);
    let request = decided(&app, &pending).await;
    working.stop().await;
    assert_eq!(text(&request, "status"), "GRANTED");
    let signed = receipt(&app, &request).await;
    assert_eq!(signed["terms"]["params"], json!({"days": 1}));
    assert_replays(&app, &signed, bundled("login-streak")).await;
}
