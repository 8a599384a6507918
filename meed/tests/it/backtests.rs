//! `/backtests`

use std::time::Duration;

use meed_host::auth::Role;
use meed_host::backtests::report::SignedReport;
use meed_host::contract::{Decision, Outcome, Reason};
use meed_host::keys::PublicKey;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::guests::ENDLESS;
use crate::support::{TestApp, TestUser, assert_fault, guest, on_both_engines, text, with};

/// Creates a backtest of an event.
async fn create(app: &TestApp, event: &Value, changes: Value) -> Value {
    let token = app.operator().await;
    let body = with(json!({"eventId": event["id"]}), changes);
    app.post("/backtests")
        .bearer(&token)
        .json(&body)
        .send()
        .await
        .expect(202)
}

/// Does everything that the background task does.
async fn run(app: &TestApp) {
    while app.app.backtests.advance().await.expect("a step") {}
}

/// The JSON of the report of a new backtest.
async fn report_of(app: &TestApp, event: &Value, changes: Value) -> Value {
    let backtest = create(app, event, changes).await;
    run(app).await;
    report(app, &backtest).await
}

async fn report(app: &TestApp, backtest: &Value) -> Value {
    let path = format!("/backtests/{}", text(backtest, "id"));
    let done = app.read(&path).await;
    assert_eq!(done["state"], "DONE", "{done:#}");
    app.read(&format!("{path}/report")).await
}

/// Reports a purchase at the current time.
async fn purchase(app: &TestApp, user: &TestUser, id: &str, at: &str, amount: i64) {
    let token = app.operator().await;
    let body = json!({
        "source": "shop", "id": id, "userId": user.id, "kind": "shop.purchase", "occurredAt": at, "amount": amount,
    });
    app.post("/activities")
        .bearer(&token)
        .json(&body)
        .send()
        .await
        .expect(201);
}

async fn claim(app: &TestApp, user: &TestUser, event: &Value) -> Value {
    let token = app.log_in(user).await;
    app.claim(&token, event).send().await.expect(201)
}

fn sum(amount: i64) -> Value {
    json!({"kind": "shop.purchase", "sum": amount})
}

#[apply(on_both_engines)]
async fn late_and_corrected_activities_flip_nothing_against_what_was_granted(app: TestApp) {
    let event = app.event("activity-count", sum(500), json!({})).await;
    let (late, corrected, never) = (
        app.user(Role::User).await,
        app.user(Role::User).await,
        app.user(Role::User).await,
    );
    app.at("2026-03-02T12:00:00Z");
    purchase(&app, &late, "1", "2026-03-02T11:00:00Z", 100).await;
    purchase(&app, &corrected, "2", "2026-03-02T11:00:00Z", 600).await;
    assert_eq!(claim(&app, &late, &event).await["status"], "REJECTED");
    app.at("2026-03-03T12:00:00Z");
    assert_eq!(claim(&app, &corrected, &event).await["status"], "GRANTED");
    // A purchase of the day before the rejection arrives two days later, and a refund after the grant.
    app.at("2026-03-04T12:00:00Z");
    purchase(&app, &late, "3", "2026-03-01T11:00:00Z", 400).await;
    purchase(&app, &corrected, "4", "2026-03-02T11:30:00Z", -200).await;
    purchase(&app, &never, "5", "2026-03-04T11:30:00Z", 500).await;
    assert_eq!(claim(&app, &late, &event).await["status"], "GRANTED");
    app.at("2026-03-05T12:00:00Z");
    let report = report_of(&app, &event, json!({})).await["report"].take();
    let reproduction = &report["reproduction"];
    assert_eq!(
        (
            &reproduction["same"],
            &reproduction["different"],
            &reproduction["notComparable"]
        ),
        (&json!(3), &json!(0), &json!(0)),
        "{reproduction:#}"
    );
    for kind in ["gained", "lost", "changed", "moved"] {
        assert_eq!(report["flips"][kind]["users"], 0, "{kind}");
    }
    let candidate = &report["candidate"];
    assert_eq!(candidate["claims"]["granted"], 2, "{candidate:#}");
    assert_eq!(candidate["claims"]["refused"], 1);
    assert_eq!(candidate["silentUsers"]["granted"], 1);
    assert_eq!(candidate["grants"], 3);
    assert_eq!(candidate["value"], 300);
    assert_eq!(report["coverage"]["claimants"], 2);
    // The operator of the test is staff.
    assert_eq!(report["coverage"]["skipped"], json!({"staff": 1}));
    let days = &candidate["firstEligible"];
    assert_eq!(
        days[0],
        json!({"day": "2026-03-03", "users": 1, "cumulative": 1}),
        "{days:#}"
    );
    let steps = report["forecast"]["steps"].as_array().expect("steps");
    let last = steps.last().expect("a step");
    assert_eq!(
        (&last["cumulativeGrants"], &last["cumulativeSilentGrants"]),
        (&json!(2), &json!(1))
    );
}

#[apply(on_both_engines)]
async fn a_window_that_is_a_day_short_at_the_zones_midnight_is_seen(app: TestApp) {
    let params = |days: u32| json!({"kind": "shop.purchase", "count": 1, "lastDays": days});
    let event = app
        .event("activity-count", params(2), json!({"timeZone": "Asia/Seoul"}))
        .await;
    let user = app.user(Role::User).await;
    // 23:30 in Seoul; half an hour after midnight is another day there, and none in UTC.
    app.at("2026-03-02T14:30:00Z");
    purchase(&app, &user, "1", "2026-03-02T14:30:00Z", 1).await;
    app.at("2026-03-02T15:30:00Z");
    assert_eq!(claim(&app, &user, &event).await["status"], "GRANTED");
    app.at("2026-03-03T12:00:00Z");
    let plugin = &event["condition"];
    let candidate = json!({"plugin": plugin["plugin"], "version": plugin["version"], "params": params(1)});
    let report = report_of(&app, &event, json!({"candidate": candidate})).await["report"].take();
    let lost = &report["flips"]["lost"];
    assert_eq!((&lost["users"], &lost["value"]), (&json!(1), &json!(-100)), "{lost:#}");
    assert_eq!(lost["reasons"][0]["reason"], "granted → too-few-activities");
    let example = &lost["examples"][0];
    assert_eq!(example["userId"], user.id.as_str());
    assert_eq!(example["asOf"], "2026-03-02T15:30:00.000Z");
    assert_eq!(example["before"]["status"], "GRANTED");
    assert_eq!(example["after"]["reasons"][0]["code"], "too-few-activities");
    assert_eq!(report["flips"]["gained"]["users"], 0);
}

#[apply(on_both_engines)]
async fn a_forgotten_cap_empties_the_stock_and_the_budget(app: TestApp) {
    let reward = app.reward(json!({"type": "COUPON", "value": 10, "stock": 5})).await;
    let changes = json!({"rewardIds": [reward["id"]], "budget": {"period": "DAILY", "grants": 2}});
    let event = app.event("activity-count", sum(500), changes).await;
    let users = app.crowd(8).await;
    app.at("2026-03-01T13:00:00Z");
    for (number, user) in users.iter().enumerate() {
        let amount = if number == 0 { 900 } else { 10 };
        purchase(&app, user, &number.to_string(), "2026-03-01T12:30:00Z", amount).await;
    }
    app.at("2026-03-06T12:00:00Z");
    let condition = &event["condition"];
    let candidate = json!({"plugin": condition["plugin"], "version": condition["version"], "params": sum(1)});
    let report = report_of(&app, &event, json!({"candidate": candidate})).await["report"].take();
    assert_eq!(report["rounds"]["settled"], true, "{:#}", report["rounds"]);
    assert_eq!(report["baseline"]["grants"], 1);
    assert_eq!(report["baseline"]["exhausted"], json!([]));
    // Two a day, until the fifth empties the stock.
    let candidate = &report["candidate"];
    assert_eq!(
        (&candidate["grants"], &candidate["value"]),
        (&json!(5), &json!(50)),
        "{candidate:#}"
    );
    let days = |day: &str, users, cumulative| json!({"day": day, "users": users, "cumulative": cumulative});
    assert_eq!(
        candidate["firstEligible"],
        json!([
            days("2026-03-01", 2, 2),
            days("2026-03-02", 2, 4),
            days("2026-03-03", 1, 5)
        ])
    );
    let exhausted = candidate["exhausted"].as_array().expect("a list");
    let budgets: Vec<&str> = exhausted
        .iter()
        .filter_map(|out| out["budgetPeriod"].as_str())
        .collect();
    assert_eq!(budgets, ["2026-03-01", "2026-03-02"]);
    let stock = exhausted
        .iter()
        .find(|out| out["rewardId"] == reward["id"])
        .expect("the stock");
    assert_eq!(stock["at"], "2026-03-03T00:00:00.000Z");
    // Four more users, and perhaps one instead of the user with the large purchase.
    let users = |kind: &str| report["flips"][kind]["users"].as_u64().expect("a number");
    assert_eq!(users("gained") - users("lost"), 4, "{:#}", report["flips"]);
}

#[apply(on_both_engines)]
async fn invited_users_who_are_paid_twice_are_seen(app: TestApp) {
    let event = app
        .event(
            "activity-count",
            sum(500),
            json!({"recurrence": {"period": "ONCE", "count": 2}}),
        )
        .await;
    let inviter = app.user(Role::User).await;
    let invited = app
        .insert_user(app.clock.now(), Some(inviter.id.parse().expect("an id")))
        .await;
    let token = app.operator().await;
    let body = json!({
        "source": "shop", "id": "1", "userId": invited, "kind": "shop.purchase", "occurredAt": "2026-03-01T12:00:00Z",
        "amount": 100,
    });
    app.post("/activities")
        .bearer(&token)
        .json(&body)
        .send()
        .await
        .expect(201);
    app.at("2026-03-02T12:00:00Z");
    let condition = &event["condition"];
    let candidate = json!({"plugin": condition["plugin"], "version": condition["version"], "params": sum(100)});
    let report = report_of(&app, &event, json!({"candidate": candidate})).await["report"].take();
    let concentration = &report["candidate"]["concentration"];
    assert_eq!(concentration["mostGrantsOfAUser"], 2, "{concentration:#}");
    assert_eq!(
        (&concentration["invitedUsers"], &concentration["invitedGrants"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(concentration["newAccountGrants"], 2);
    assert_eq!(report["baseline"]["grants"], 0);
}

#[apply(on_both_engines)]
async fn the_same_backtest_has_the_same_report(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 3}), json!({})).await;
    let users = app.crowd(12).await;
    for day in 2..6 {
        app.at(&format!("2026-03-0{day}T12:00:00Z"));
        for user in users.iter().skip(day) {
            app.log_in(user).await;
        }
    }
    let period = json!({"from": "2026-03-01T00:00:00Z", "to": "2026-03-05T18:00:00Z"});
    app.at("2026-03-05T20:00:00Z");
    let first = report_of(&app, &event, period.clone()).await;
    app.at("2026-03-07T12:00:00Z");
    // What is recorded later changes nothing.
    app.log_in(&users[0]).await;
    let second = report_of(&app, &event, period.clone()).await;
    assert_eq!(first["digest"], second["digest"]);
    assert_eq!(first["report"], second["report"]);
    assert_ne!(first["run"], second["run"]);
    assert!(first["report"]["candidate"]["grants"].as_u64() > Some(0), "{first:#}");
    let sampled = report_of(&app, &event, with(period, json!({"sample": 5}))).await;
    assert_eq!(sampled["report"]["coverage"]["seen"], 5);
}

#[apply(on_both_engines)]
async fn a_report_is_signed_and_a_changed_one_is_refused(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    claim(&app, &user, &event).await;
    app.at("2026-03-02T12:00:00Z");
    let backtest = create(&app, &event, json!({})).await;
    run(&app).await;
    let report = report(&app, &backtest).await;
    let keys = app.get("/.well-known/receipt-keys.json").send().await;
    let keys = PublicKey::of_jwks(std::str::from_utf8(&keys.bytes).expect("text")).expect("keys");
    SignedReport::verify(&report.to_string(), Some(&keys)).expect("a true report");
    for (pointer, value) in [
        ("/report/candidate/grants", json!(7)),
        ("/run/createdAt", json!("2026-03-01T00:00:00.000Z")),
        ("/digest", json!("00")),
        ("/format", json!("meed-report/2")),
        ("/signature/value", json!("AAAA")),
    ] {
        let mut changed = report.clone();
        *changed.pointer_mut(pointer).expect(pointer) = value;
        assert!(
            SignedReport::verify(&changed.to_string(), Some(&keys)).is_err(),
            "{pointer}"
        );
    }
    let id = text(&backtest, "id").parse().expect("an id");
    let evidence = app.app.backtests.evidence(id).await.expect("a read").expect("evidence");
    assert_eq!(evidence.report_digest, report["digest"]);
    assert_eq!(evidence.event_id.to_string(), text(&event, "id"));
    let last = evidence.report.forecast.steps.last().expect("a step");
    assert_eq!(last.cumulative_grants, 1);
    assert_eq!(app.count("SELECT COUNT(*) FROM backtest_shards").await, 0);
    assert_eq!(
        app.count("SELECT COUNT(*) FROM outbox WHERE kind = 'backtest.finished'")
            .await,
        1
    );
}

#[apply(on_both_engines)]
async fn texts_of_conditions_are_no_markup_and_failures_are_counted(app: TestApp) {
    let hostile = "<script>alert(1)</script>";
    let title = "<img src=x onerror=alert(2)>";
    let event = app.event("first-come", json!({}), json!({"title": title})).await;
    let user = app.user(Role::User).await;
    claim(&app, &user, &event).await;
    app.at("2026-03-02T12:00:00Z");
    let mut refusing = guest("refusing");
    refusing.decision = Ok(Decision {
        outcome: Outcome::NotEligible,
        reasons: vec![Reason {
            code: "no".to_owned(),
            message: hostile.to_owned(),
            args: [].into(),
        }],
        awards: meed_host::contract::Awards::Chosen(Vec::new()),
        progress: Vec::new(),
        retry_at: None,
    });
    let refusing = app.install(refusing.module()).await;
    let candidate = json!({"plugin": refusing.name, "version": refusing.version, "params": {}});
    let backtest = create(&app, &event, json!({"candidate": candidate})).await;
    run(&app).await;
    let path = format!("/backtests/{}/report", text(&backtest, "id"));
    let token = app.auditor().await;
    let page = app.get(&path).bearer(&token).header("accept", "text/html").send().await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let html = String::from_utf8(page.bytes.clone()).expect("text");
    assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
    assert!(
        html.contains("&lt;script&gt;alert(1)") && html.contains("<svg"),
        "{html}"
    );
    let csv = app.get(&path).bearer(&token).header("accept", "text/csv").send().await;
    let csv = String::from_utf8(csv.bytes.clone()).expect("text");
    assert!(csv.starts_with("section,name,baseline,candidate\r\n"), "{csv}");
    assert!(csv.contains("flips lost,users,,1\r\n"), "{csv}");
    let refused = app.get(&path).bearer(&token).header("accept", "image/png").send().await;
    refused.expect_problem(406, "not-acceptable");
}

#[apply(on_both_engines)]
async fn a_condition_that_never_ends_fails_in_the_report(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    claim(&app, &user, &event).await;
    app.at("2026-03-02T12:00:00Z");
    let mut endless = guest("endless");
    endless.evaluate = ENDLESS;
    let endless = app.install(endless.module()).await;
    let candidate = json!({"plugin": endless.name, "version": endless.version, "params": {}});
    let report = report_of(&app, &event, json!({"candidate": candidate, "population": "CLAIMANTS"})).await;
    let candidate = &report["report"]["candidate"];
    assert_eq!(candidate["failures"], json!({"out-of-fuel": 1}), "{candidate:#}");
    assert_eq!(candidate["claims"]["failed"], 1);
    assert_eq!(candidate["fuel"]["max"], candidate["fuel"]["limit"]);
    assert_eq!(
        report["report"]["flips"]["lost"]["reasons"][0]["reason"],
        "granted → condition-failed"
    );
}

#[apply(on_both_engines)]
async fn another_process_takes_over_the_shard_of_one_that_died(app: TestApp) {
    const DIED: &str = "UPDATE backtest_shards SET fence = fence + 1, lease_until = $1";
    let event = app.event("first-come", json!({}), json!({})).await;
    app.user(Role::User).await;
    app.at("2026-03-02T12:00:00Z");
    let backtest = create(&app, &event, json!({})).await;
    assert!(app.app.backtests.advance().await.expect("a plan"));
    let mut tx = app.begin().await;
    let until = app.clock.now().plus(Duration::from_secs(4));
    tx.query(DIED).bind(until).execute(&mut tx).await.expect("a lease");
    tx.commit().await.expect("a commit");
    assert!(!app.app.backtests.advance().await.expect("nothing to do"));
    app.at("2026-03-02T12:00:05Z");
    run(&app).await;
    assert_eq!(report(&app, &backtest).await["report"]["candidate"]["grants"], 1);
}

#[apply(on_both_engines)]
async fn a_backtest_can_be_paused_resumed_and_cancelled(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    app.at("2026-03-02T12:00:00Z");
    let backtest = create(&app, &event, json!({})).await;
    let token = app.operator().await;
    let path = format!("/backtests/{}", text(&backtest, "id"));
    let act = async |action: &str| app.post(&format!("{path}/{action}")).bearer(&token).send().await;
    assert!(app.app.backtests.advance().await.expect("a plan"));
    assert_eq!(act("pause").await.expect(200)["state"], "PAUSED");
    assert!(!app.app.backtests.advance().await.expect("nothing to do"));
    act("pause").await.expect_problem(409, "backtest-state");
    let early = app.get(&format!("{path}/report")).bearer(&token).send().await;
    early.expect_problem(409, "backtest-not-done");
    assert_eq!(act("resume").await.expect(200)["state"], "RUNNING");
    run(&app).await;
    report(&app, &backtest).await;
    act("cancellation").await.expect_problem(409, "backtest-state");
    let other = create(&app, &event, json!({})).await;
    let path = format!("/backtests/{}/cancellation", text(&other, "id"));
    assert_eq!(
        app.post(&path).bearer(&token).send().await.expect(200)["state"],
        "CANCELLED"
    );
    assert!(!app.app.backtests.advance().await.expect("nothing to do"));
    let page = app.read("/backtests?state=CANCELLED").await;
    assert_eq!(page["items"][0]["id"], other["id"]);
    // Cancelled ones are kept for a week, reports for a year.
    app.at("2026-03-10T12:00:00Z");
    assert_eq!(app.app.backtests.prune().await.expect("a sweep"), 1);
    app.at("2027-03-10T12:00:00Z");
    assert_eq!(app.app.backtests.prune().await.expect("a sweep"), 1);
}

#[apply(on_both_engines)]
async fn what_cannot_be_backtested_is_refused(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    app.at("2026-03-02T12:00:00Z");
    let token = app.operator().await;
    let post = async |body: Value| app.post("/backtests").bearer(&token).json(&body).send().await;
    let body = json!({"eventId": event["id"]});
    for (pointer, changes) in [
        ("/from", json!({"from": "2026-03-03T00:00:00Z"})),
        ("/to", json!({"from": "2020-01-01T00:00:00Z"})),
        ("/sample", json!({"sample": 0})),
        (
            "/candidate/version",
            json!({"candidate": {"plugin": "nothing", "version": "1.0.0"}}),
        ),
    ] {
        assert_fault(post(with(body.clone(), changes)).await, pointer);
    }
    let unknown = json!({"eventId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"});
    post(unknown).await.expect_problem(404, "no-such-event");
    for _ in 0..5 {
        post(body.clone()).await.expect(202);
    }
    post(body).await.expect_problem(409, "too-many-backtests");
}
