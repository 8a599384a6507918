//! `/releases`

mod doors;
mod evidence;
mod people;
mod races;
mod ramp;
mod rollback;
mod schedule;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, TestUser, assert_fault, bundled, each, event_input, on_both_engines, text, with};

/// A server that protects every live event, on the database of `app`, which protects none.
pub fn protected(app: &TestApp) -> TestApp {
    // The tests move the clock by hours.
    app.replica(&[("releases.required", "always"), ("auth.access_token_seconds", "86400")])
}

/// Three people who may propose and approve.
pub struct People {
    pub author: TestUser,
    pub approver: TestUser,
    pub admin: TestUser,
}

impl People {
    pub async fn of(app: &TestApp) -> Self {
        Self {
            author: app.user(Role::Operator).await,
            approver: app.user(Role::Operator).await,
            admin: app.user(Role::Admin).await,
        }
    }
}

/// A live event: 7 days in a row. The plugin is bundled, so no person uploaded it.
pub async fn streak(app: &TestApp) -> Value {
    app.event("login-streak", json!({"days": 7}), json!({})).await
}

/// A proposal to grant the event after so many days.
pub fn five_days(event: &Value) -> Value {
    json!({
        "eventId": event["id"], "eventRevision": event["revision"], "title": "Five days instead of seven",
        "condition": {"plugin": "login-streak", "version": "1.0.0", "params": {"days": 5}},
    })
}

pub async fn propose(app: &TestApp, by: &TestUser, body: Value) -> Value {
    let call = app.post("/releases").bearer(&by.token).json(&body);
    call.send().await.expect(201)
}

/// An action on a release, such as `activation`.
pub async fn act(app: &TestApp, by: &TestUser, release: &Value, action: &str, body: Value) -> Reply {
    let path = format!("/releases/{}/{action}", text(release, "id"));
    app.post(&path).bearer(&by.token).json(&body).send().await
}

pub fn why() -> Value {
    json!({"reason": "there is no history yet"})
}

/// Waives the backtest, and approves what the release is then.
pub async fn approve(app: &TestApp, people: &People, release: &Value) -> Reply {
    let waived = act(app, &people.admin, release, "waiver", why()).await.expect(200);
    act(
        app,
        &people.approver,
        release,
        "approval",
        json!({"hash": waived["hash"]}),
    )
    .await
}

pub async fn state(app: &TestApp, release: &Value) -> String {
    let release = app.read(&format!("/releases/{}", text(release, "id"))).await;
    text(&release, "state").to_owned()
}

pub async fn days(app: &TestApp, event: &Value) -> Value {
    let event = app.read(&format!("/events/{}", text(event, "id"))).await;
    event["condition"]["params"]["days"].clone()
}

/// Replaces the event with these changes, and does not use the state of `event`.
pub async fn put(app: &TestApp, token: &str, event: &Value, changes: Value) -> Reply {
    let path = format!("/events/{}", text(event, "id"));
    let now = app.read(&path).await;
    let body = with(event_input(&now), changes);
    let call = app.put(&path).bearer(token).header("if-match", "*");
    call.json(&body).send().await
}

#[apply(on_both_engines)]
async fn a_release_is_proposed_approved_and_activated(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, five_days(&event)).await;
    assert_eq!(
        (text(&release, "state"), &release["authors"]),
        ("REVIEW", &json!([people.author.id]))
    );
    assert_eq!(release["event"]["condition"]["params"], json!({"days": 5}));
    act(&app, &people.author, &release, "activation", json!({}))
        .await
        .expect_problem(409, "release-state");

    let approved = approve(&app, &people, &release).await.expect(200);
    assert_eq!(
        (text(&approved, "state"), text(&approved, "approvedBy")),
        ("APPROVED", people.approver.id.as_str())
    );
    assert_eq!(days(&app, &event).await, 7);
    app.at("2026-03-01T13:00:00Z");
    let live = act(&app, &people.author, &release, "activation", json!({}))
        .await
        .expect(200);
    assert_eq!((text(&live, "state"), &live["previousRevision"]), ("LIVE", &json!(1)));
    assert_eq!(days(&app, &event).await, 5);
    let changed = app.read(&format!("/events/{}/revisions", text(&event, "id"))).await;
    assert_eq!(text(&changed["items"][0], "changedBy"), people.author.id);

    let path = format!("/releases/{}/entries", text(&release, "id"));
    let entries = app.read(&path).await;
    assert_eq!(
        each(&entries["items"], "action"),
        ["ACTIVATED", "APPROVED", "WAIVED", "CREATED"]
    );
    // What was approved is what became live.
    assert_eq!(entries["items"][0]["hash"], approved["hash"]);
    let kinds = "SELECT COUNT(*) FROM outbox WHERE kind IN \
        ('release.created', 'release.waived', 'release.approved', 'release.activated')";
    assert_eq!(app.count(kinds).await, 4);
    let audited = "SELECT COUNT(*) FROM audit_log WHERE target_kind = 'release' AND outcome = 'DONE'";
    assert_eq!(app.count(audited).await, 4);
}

#[apply(on_both_engines)]
async fn releases_are_listed_by_event_and_state(app: TestApp) {
    let (one, other) = (streak(&app).await, streak(&app).await);
    let author = app.user(Role::Operator).await;
    let release = propose(&app, &author, five_days(&one)).await;
    let draft = propose(&app, &author, with(five_days(&one), json!({"draft": true}))).await;
    propose(&app, &author, five_days(&other)).await;
    let ids = async |query: &str| {
        let page = app.read(&format!("/releases?{query}")).await;
        let mut ids: Vec<String> = each(&page["items"], "id").into_iter().map(str::to_owned).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids("").await.len(), 3);
    let mut of_one = vec![text(&release, "id").to_owned(), text(&draft, "id").to_owned()];
    of_one.sort();
    assert_eq!(ids(&format!("eventId={}", text(&one, "id"))).await, of_one);
    assert_eq!(ids("state=DRAFT").await, [text(&draft, "id")]);
    let bad = app.get("/releases?state=ON").bearer(&author.token).send().await;
    bad.expect_problem(400, "invalid-parameter");
}

#[apply(on_both_engines)]
async fn a_proposal_is_checked_as_if_it_became_live(app: TestApp) {
    let event = streak(&app).await;
    let author = app.user(Role::Operator).await;
    let refused = async |changes: Value| {
        let body = with(five_days(&event), changes);
        app.post("/releases").bearer(&author.token).json(&body).send().await
    };
    let condition =
        |params: Value| json!({"condition": {"plugin": "login-streak", "version": "1.0.0", "params": params}});
    assert_fault(refused(condition(json!({"days": 0}))).await, "/condition/params/days");
    let unknown = json!({"condition": {"plugin": "login-streak", "version": "9.9.9", "params": {}}});
    assert_fault(refused(unknown).await, "/condition/version");
    refused(json!({"eventRevision": 2}))
        .await
        .expect_problem(412, "event-changed");
    let both = json!({"event": event_input(&event)});
    refused(both).await.expect_problem(422, "invalid-body");
    let moved = with(event_input(&event), json!({"startDate": "2026-02-02T00:00:00Z"}));
    refused(json!({"condition": null, "event": moved}))
        .await
        .expect_problem(409, "event-started");
    assert_fault(refused(json!({"backtestId": event["id"]})).await, "/backtestId");
    let step = |permille: u16| json!({"permille": permille, "seconds": 60});
    let falls = json!({"plan": {"steps": [step(100), step(50)]}});
    refused(falls).await.expect_problem(422, "invalid-body");
    let same = with(condition(json!({"days": 7})), json!({"plan": {"steps": [step(0)]}}));
    assert_fault(refused(same).await, "/plan/steps");
    let gone = json!({"eventId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"});
    refused(gone).await.expect_problem(404, "no-such-event");
    assert_eq!(app.count("SELECT COUNT(*) FROM releases").await, 0);
}

#[apply(on_both_engines)]
async fn any_change_sends_a_release_back_to_the_review(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, five_days(&event)).await;
    let approved = approve(&app, &people, &release).await.expect(200);
    let edit = |etag: String, changes: Value| {
        let path = format!("/releases/{}", text(&release, "id"));
        let call = app.put(&path).bearer(&people.author.token).header("if-match", &etag);
        call.json(&with(five_days(&event), changes)).send()
    };
    edit("\"1\"".to_owned(), json!({}))
        .await
        .expect_problem(412, "release-changed");
    let plan = json!({"plan": {"steps": [{"permille": 10, "seconds": 60}]}});
    let edited = edit(format!("\"{}\"", approved["revision"]), plan).await.expect(200);
    assert_eq!(
        (text(&edited, "state"), &edited["approvedBy"]),
        ("REVIEW", &Value::Null)
    );
    assert_ne!(edited["hash"], approved["hash"]);
    act(&app, &people.author, &release, "activation", json!({}))
        .await
        .expect_problem(409, "release-state");
    // The approver approves what was there before.
    let stale = act(
        &app,
        &people.approver,
        &release,
        "approval",
        json!({"hash": approved["hash"]}),
    )
    .await;
    assert_eq!(stale.expect_problem(409, "release-hash")["hash"], edited["hash"]);
    act(
        &app,
        &people.approver,
        &release,
        "approval",
        json!({"hash": edited["hash"]}),
    )
    .await
    .expect(200);
    // A waiver is a change, too.
    let waived = act(
        &app,
        &people.admin,
        &release,
        "waiver",
        json!({"reason": "another one"}),
    )
    .await
    .expect(200);
    assert_eq!(text(&waived, "state"), "REVIEW");
}

#[apply(on_both_engines)]
async fn a_new_revision_of_the_event_outdates_a_release(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let (first, second) = (
        propose(&app, &people.author, five_days(&event)).await,
        propose(&app, &people.author, five_days(&event)).await,
    );
    approve(&app, &people, &first).await.expect(200);
    // A change that gives nothing out needs no release.
    put(&app, &people.author.token, &event, json!({"title": "Log in"}))
        .await
        .expect(200);
    let outdated = approve(&app, &people, &second)
        .await
        .expect_problem(409, "release-outdated");
    assert_eq!(outdated["eventRevision"], 2);
    act(&app, &people.author, &first, "activation", json!({}))
        .await
        .expect_problem(409, "release-outdated");
    assert_eq!(state(&app, &first).await, "REVIEW");
    assert_eq!(days(&app, &event).await, 7);
    let told = "SELECT COUNT(*) FROM outbox WHERE kind = 'release.outdated'";
    assert_eq!(app.count(told).await, 1);
}

#[apply(on_both_engines)]
async fn a_protected_event_needs_a_backtest_or_a_waiver(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, five_days(&event)).await;
    let without = json!({"hash": release["hash"]});
    act(&app, &people.approver, &release, "approval", without)
        .await
        .expect_problem(409, "backtest-required");
    act(&app, &people.approver, &release, "waiver", why())
        .await
        .expect_problem(403, "forbidden");
    let waived = act(&app, &people.admin, &release, "waiver", why()).await.expect(200);
    assert_eq!(
        (&waived["waiver"], &waived["waivedBy"]),
        (&why()["reason"], &json!(people.admin.id))
    );
    // Another condition was waived: an edit of it ends the waiver.
    let path = format!("/releases/{}", text(&release, "id"));
    let body = with(
        five_days(&event),
        json!({"condition": {"plugin": "login-streak", "version": "1.0.0", "params": {"days": 1}}}),
    );
    let call = app.put(&path).bearer(&people.author.token).header("if-match", "*");
    let edited = call.json(&body).send().await.expect(200);
    assert_eq!(edited["waiver"], Value::Null);
    let approval = json!({"hash": edited["hash"]});
    act(&app, &people.approver, &release, "approval", approval)
        .await
        .expect_problem(409, "backtest-required");
}

#[apply(on_both_engines)]
async fn a_draft_waits_for_its_author_and_a_rejected_release_is_one(app: TestApp) {
    let event = streak(&app).await;
    let people = People::of(&app).await;
    let draft = propose(&app, &people.author, with(five_days(&event), json!({"draft": true}))).await;
    assert_eq!(text(&draft, "state"), "DRAFT");
    let approval = json!({"hash": draft["hash"]});
    act(&app, &people.approver, &draft, "approval", approval.clone())
        .await
        .expect_problem(409, "release-state");
    act(&app, &people.author, &draft, "submission", json!({}))
        .await
        .expect(200);
    let rejected = act(
        &app,
        &people.approver,
        &draft,
        "rejection",
        json!({"reason": "why five?"}),
    )
    .await
    .expect(200);
    assert_eq!(
        (text(&rejected, "state"), text(&rejected, "reason")),
        ("DRAFT", "why five?")
    );
    act(
        &app,
        &people.author,
        &draft,
        "comments",
        json!({"text": "because of the holidays"}),
    )
    .await
    .expect(204);
    act(&app, &people.author, &draft, "submission", json!({}))
        .await
        .expect(200);
    // Where nothing protects the event, an approval needs no evidence.
    act(&app, &people.approver, &draft, "approval", approval)
        .await
        .expect(200);
    let withdrawn = act(&app, &people.author, &draft, "withdrawal", json!({"reason": "no"}))
        .await
        .expect(200);
    assert_eq!(text(&withdrawn, "state"), "WITHDRAWN");
    for (action, body) in [
        ("submission", json!({})),
        ("activation", json!({})),
        ("rollback", why()),
    ] {
        act(&app, &people.author, &draft, action, body)
            .await
            .expect_problem(409, "release-state");
    }
    let entries = app.read(&format!("/releases/{}/entries", text(&draft, "id"))).await;
    let comment = &entries["items"][3];
    assert_eq!(
        (text(comment, "action"), text(comment, "text")),
        ("COMMENTED", "because of the holidays")
    );
}

#[apply(on_both_engines)]
async fn the_plugin_of_a_release_cannot_be_deleted(app: TestApp) {
    let event = streak(&app).await;
    let plugin = app.install(bundled("first-come")).await;
    let author = app.user(Role::Operator).await;
    let condition = json!({"plugin": plugin.name, "version": plugin.version, "params": {}});
    propose(&app, &author, with(five_days(&event), json!({"condition": condition}))).await;
    let path = format!("/plugins/{}/versions/{}", plugin.name, plugin.version);
    let deleted = app.delete(&path).bearer(&app.operator().await).send().await;
    deleted.expect_problem(409, "plugin-in-use");
}
