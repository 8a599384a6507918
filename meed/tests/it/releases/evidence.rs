//! The evidence of a release: the report of a backtest of exactly its condition.

use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{People, act, five_days, propose, protected, streak};
use crate::support::{TestApp, TestUser, on_both_engines, text, with};

/// A finished backtest of the event with these days instead of seven.
async fn backtest(app: &TestApp, by: &TestUser, event: &Value, days: u32) -> Value {
    let candidate = json!({"plugin": "login-streak", "version": "1.0.0", "params": {"days": days}});
    let body = json!({"eventId": event["id"], "candidate": candidate, "from": "2026-02-01T00:00:00Z"});
    let call = app.post("/backtests").bearer(&by.token).json(&body);
    let backtest = call.send().await.expect(202);
    while app.app.backtests.advance().await.expect("a step") {}
    backtest["id"].clone()
}

#[apply(on_both_engines)]
async fn a_backtest_of_exactly_the_condition_takes_the_place_of_a_waiver(app: TestApp) {
    let event = streak(&app).await;
    let app = protected(&app);
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, five_days(&event)).await;
    act(
        &app,
        &people.approver,
        &release,
        "approval",
        json!({"hash": release["hash"]}),
    )
    .await
    .expect_problem(409, "backtest-required");

    let id = backtest(&app, &people.author, &event, 5).await;
    let release = propose(&app, &people.author, with(five_days(&event), json!({"backtestId": id}))).await;
    let report = app
        .read(&format!("/backtests/{}/report", id.as_str().expect("an id")))
        .await;
    assert_eq!(release["reportDigest"], report["digest"], "{release:#}");
    let approved = act(
        &app,
        &people.approver,
        &release,
        "approval",
        json!({"hash": release["hash"]}),
    );
    assert_eq!(text(&approved.await.expect(200), "state"), "APPROVED");
}

#[apply(on_both_engines)]
async fn a_backtest_of_something_else_is_no_evidence(app: TestApp) {
    let (event, other) = (streak(&app).await, streak(&app).await);
    let app = protected(&app);
    let people = People::of(&app).await;
    let proposed = async |id: &Value| {
        let body = with(five_days(&event), json!({"backtestId": id}));
        app.post("/releases")
            .bearer(&people.author.token)
            .json(&body)
            .send()
            .await
    };
    let of_other_params = backtest(&app, &people.author, &event, 4).await;
    let of_other_event = backtest(&app, &people.author, &other, 5).await;
    let unknown = json!("0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77");
    for (id, says) in [
        (of_other_params, "with other bytes or params"),
        (of_other_event, "is one of the event"),
        (unknown, "there is no finished backtest"),
    ] {
        let problem = proposed(&id).await.expect_problem(422, "invalid-body");
        let fault = &problem["errors"][0];
        assert_eq!(fault["pointer"], "/backtestId", "{problem:#}");
        assert!(text(fault, "message").contains(says), "{problem:#}");
    }
}
