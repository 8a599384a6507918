//! Several people and processes at once.

use futures_util::future::join_all;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{People, act, approve, days, five_days, propose, protected, state, streak, why};
use crate::support::{Reply, TestApp, on_both_engines, text, with};

fn statuses(replies: &[Reply]) -> Vec<u16> {
    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    statuses.sort_unstable();
    statuses
}

#[apply(on_both_engines)]
async fn of_many_activations_one_changes_the_event(app: TestApp) {
    let event = streak(&app).await;
    let (app, other) = (protected(&app), protected(&app));
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, five_days(&event)).await;
    approve(&app, &people, &release).await.expect(200);
    let calls = (0..6).map(|n| {
        let app = if n % 2 == 0 { &app } else { &other };
        act(app, &people.author, &release, "activation", json!({}))
    });
    assert_eq!(statuses(&join_all(calls).await), [200, 409, 409, 409, 409, 409]);
    assert_eq!(app.count("SELECT revision FROM events").await, 2);
    let activated = "SELECT COUNT(*) FROM release_entries WHERE action = 'ACTIVATED'";
    assert_eq!(app.count(activated).await, 1);
}

#[apply(on_both_engines)]
async fn of_many_approvals_one_counts(app: TestApp) {
    let event = streak(&app).await;
    let (app, other) = (protected(&app), protected(&app));
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, five_days(&event)).await;
    let waived = act(&app, &people.admin, &release, "waiver", why()).await.expect(200);
    let calls = (0..4).map(|n| {
        let (app, by) = if n % 2 == 0 {
            (&app, &people.approver)
        } else {
            (&other, &people.admin)
        };
        act(app, by, &release, "approval", json!({"hash": waived["hash"]}))
    });
    assert_eq!(statuses(&join_all(calls).await), [200, 409, 409, 409]);
    let approved = "SELECT COUNT(*) FROM release_entries WHERE action = 'APPROVED'";
    assert_eq!(app.count(approved).await, 1);
}

#[apply(on_both_engines)]
async fn an_edit_and_an_approval_at_once_never_approve_the_edit(app: TestApp) {
    let event = streak(&app).await;
    let (app, other) = (protected(&app), protected(&app));
    let people = People::of(&app).await;
    for round in 1..=4 {
        let release = propose(&app, &people.author, five_days(&event)).await;
        let waived = act(&app, &people.admin, &release, "waiver", why()).await.expect(200);
        let path = format!("/releases/{}", text(&release, "id"));
        let title = json!({"plan": {"steps": [{"permille": round, "seconds": 60}]}});
        let edit = other.put(&path).bearer(&people.author.token).header("if-match", "*");
        let edit = edit.json(&with(five_days(&event), title)).send();
        let approval = act(
            &app,
            &people.approver,
            &release,
            "approval",
            json!({"hash": waived["hash"]}),
        );
        let (edited, _) = tokio::join!(edit, approval);
        let edited: Value = edited.expect(200);
        assert_ne!(edited["hash"], waived["hash"]);
        // In both orders, the edited content is not approved.
        assert_eq!(state(&app, &release).await, "REVIEW");
    }
}

#[apply(on_both_engines)]
async fn of_two_releases_of_one_event_one_becomes_live(app: TestApp) {
    let event = streak(&app).await;
    let (app, other) = (protected(&app), protected(&app));
    let people = People::of(&app).await;
    let three = json!({"condition": {"plugin": "login-streak", "version": "1.0.0", "params": {"days": 3}}});
    let (one, two) = (
        propose(&app, &people.author, five_days(&event)).await,
        propose(&app, &people.author, with(five_days(&event), three)).await,
    );
    for release in [&one, &two] {
        approve(&app, &people, release).await.expect(200);
    }
    let (first, second) = tokio::join!(
        act(&app, &people.author, &one, "activation", json!({})),
        act(&other, &people.author, &two, "activation", json!({})),
    );
    assert_eq!(statuses(&[first, second]), [200, 409]);
    let mut states = [state(&app, &one).await, state(&app, &two).await];
    states.sort();
    assert_eq!(states, ["LIVE", "REVIEW"]);
    let expected = if state(&app, &one).await == "LIVE" { 5 } else { 3 };
    assert_eq!(days(&app, &event).await, expected);
}

#[apply(on_both_engines)]
async fn many_processes_lead_one_ramp(app: TestApp) {
    let event = streak(&app).await;
    let apps = [protected(&app), protected(&app), protected(&app)];
    let app = &apps[0];
    let people = People::of(app).await;
    let steps = json!([{"permille": 1, "seconds": 60}, {"permille": 2, "seconds": 60}]);
    let body = with(five_days(&event), json!({"plan": {"steps": steps, "guard": null}}));
    let release = propose(app, &people.author, body).await;
    approve(app, &people, &release).await.expect(200);
    act(app, &people.author, &release, "activation", json!({}))
        .await
        .expect(200);
    for at in ["2026-03-01T12:01:30Z", "2026-03-01T12:03:00Z"] {
        app.at(at);
        for ran in join_all(apps.iter().map(|app| app.app.releases.run_due())).await {
            ran.expect("a run");
        }
    }
    assert_eq!(state(app, &release).await, "LIVE");
    let entries = app.read(&format!("/releases/{}/entries", text(&release, "id"))).await;
    let actions = crate::support::each(&entries["items"], "action");
    assert_eq!(
        actions,
        ["ACTIVATED", "ADVANCED", "STARTED", "APPROVED", "WAIVED", "CREATED"]
    );
}

#[apply(on_both_engines)]
async fn a_rollback_while_the_release_becomes_live_restores_the_event(app: TestApp) {
    let event = streak(&app).await;
    let (app, other) = (protected(&app), protected(&app));
    let people = People::of(&app).await;
    let steps = json!([{"permille": 1, "seconds": 60}]);
    let body = with(five_days(&event), json!({"plan": {"steps": steps, "guard": null}}));
    let release = propose(&app, &people.author, body).await;
    approve(&app, &people, &release).await.expect(200);
    act(&app, &people.author, &release, "activation", json!({}))
        .await
        .expect(200);
    app.at("2026-03-01T12:01:30Z");
    let rollback = act(&other, &people.author, &release, "rollback", why());
    let (ran, rolled_back) = futures_util::join!(app.app.releases.run_due(), rollback);
    ran.expect("a run");
    assert_eq!(text(&rolled_back.expect(200), "state"), "ROLLED_BACK");
    assert_eq!(
        (state(&app, &release).await.as_str(), days(&app, &event).await),
        ("ROLLED_BACK", json!(7))
    );
}
