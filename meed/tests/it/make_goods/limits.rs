//! A make-good is within the stock and the budget of the event, and says what does not fit.

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{approve, buyer, claim, entries, mend, proposed, read, run, sum};
use crate::support::{TestApp, on_both_engines};

/// Three users were refused wrongly; the event has these further terms.
async fn applied(app: &TestApp, stock: Value, terms: Value) -> (Value, Value) {
    app.at("2026-03-02T12:00:00Z");
    let reward = app.reward(json!({"type": "POINT", "value": 100, "stock": stock})).await;
    let mut changes = terms;
    changes["rewardIds"] = json!([reward["id"]]);
    let event = app.event("activity-count", sum(500), changes).await;
    for _ in 0..3 {
        let user = buyer(app, 450).await;
        assert_eq!(claim(app, &user, &event).await["status"], "REJECTED");
    }
    app.at("2026-03-02T12:10:00Z");
    mend(app, &event, sum(400)).await;
    let (author, approver) = (app.user(Role::Operator).await, app.user(Role::Operator).await);
    let make_good = proposed(app, &author, &event).await;
    let before = read(app, &make_good).await;
    approve(app, &approver, &make_good).await.expect(200);
    run(app).await;
    (before, read(app, &make_good).await)
}

async fn skipped(app: &TestApp, make_good: &Value) -> Vec<String> {
    let found = entries(app, make_good).await;
    let skipped = found.iter().filter(|entry| entry["state"] == "SKIPPED");
    skipped
        .map(|entry| entry["skipped"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[apply(on_both_engines)]
async fn a_stock_that_does_not_suffice_is_told_before_and_after(app: TestApp) {
    let (before, after) = applied(&app, json!(2), json!({})).await;
    let shortage = &before["shortages"][0];
    assert_eq!(
        (&shortage["needed"], &shortage["left"]),
        (&json!(3), &json!(2)),
        "{before:#}"
    );
    assert_eq!(after["state"], "APPLIED", "{after:#}");
    assert_eq!(
        (&after["counts"]["applied"], &after["counts"]["skipped"]),
        (&json!(2), &json!(1)),
        "{after:#}"
    );
    assert_eq!(skipped(&app, &after).await, ["sold-out"]);
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 2);
}

#[apply(on_both_engines)]
async fn a_budget_that_does_not_suffice_is_told(app: TestApp) {
    let budget = json!({"budget": {"period": "ONCE", "grants": 1}});
    let (_, after) = applied(&app, json!(10), budget).await;
    assert_eq!(
        (&after["counts"]["applied"], &after["counts"]["skipped"]),
        (&json!(1), &json!(2)),
        "{after:#}"
    );
    assert_eq!(skipped(&app, &after).await, ["budget-spent", "budget-spent"]);
}
