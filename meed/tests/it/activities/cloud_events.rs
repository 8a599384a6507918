//! CloudEvents 1.0 as activities: one (structured mode) or an array of them (batched mode).

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{external, pointers};
use crate::support::{Reply, TestApp, on_both_engines, with};

const ONE: &str = "application/cloudevents+json; charset=utf-8";
const MANY: &str = "application/cloudevents-batch+json";

async fn send(app: &TestApp, token: &str, content_type: &str, body: &Value) -> Reply {
    app.post("/activities")
        .bearer(token)
        .bytes(content_type, body.to_string())
        .send()
        .await
}

fn event(id: &str, changes: Value) -> Value {
    let event = json!({
        "specversion": "1.0", "id": id, "source": "https://shop.example/orders", "type": "shop.purchase",
        "subject": "customer-1", "time": "2026-02-28T10:00:00Z", "traceparent": "00-0af7-b7ad-01",
        "data": {"amount": 2500, "category": "hats", "lines": [{"sku": "h-1"}]},
    });
    with(event, changes)
}

#[apply(on_both_engines)]
async fn an_event_is_recorded_once_as_an_activity(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let user = external(&app, "customer-1").await;
    assert_eq!(
        send(&app, &operator, ONE, &event("1", json!({}))).await.expect(201)["recorded"],
        1
    );
    assert_eq!(
        send(&app, &operator, ONE, &event("1", json!({}))).await.expect(200)["duplicates"],
        1
    );
    let changed = event("1", json!({"data": {"amount": 2501}}));
    let problem = send(&app, &operator, ONE, &changed)
        .await
        .expect_problem(409, "activity-conflict");
    assert_eq!(pointers(&problem), ["/data/amount"]);

    let path = format!("/users/{user}/activities?kind=shop.purchase");
    let page = app.get(&path).bearer(&operator).send().await.expect(200);
    let recorded = &page["items"][0];
    assert_eq!(
        (
            &recorded["source"],
            &recorded["id"],
            &recorded["kind"],
            &recorded["occurredAt"],
            &recorded["amount"]
        ),
        (
            &json!("https://shop.example/orders"),
            &json!("1"),
            &json!("shop.purchase"),
            &json!("2026-02-28T10:00:00.000Z"),
            &json!(2500)
        )
    );
    assert_eq!(recorded["attributes"], json!({"category": "hats"}));
}

#[apply(on_both_engines)]
async fn a_batch_is_recorded_whole_or_not_at_all(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    external(&app, "customer-1").await;
    let [good, other] = ["1", "2"].map(|id| event(id, json!({})));
    for (changes, pointer) in [
        (json!({"specversion": "0.3"}), "/1/specversion"),
        (json!({"type": "auth.login"}), "/1/type"),
        (json!({"source": "the shop"}), "/1/source"),
        (json!({"time": "2026-03-01T12:05:00.001Z"}), "/1/time"),
        (json!({"subject": "customer-2"}), "/1/subject"),
        (json!({"data": {"amount": 0.5}}), "/1/data/amount"),
        (json!({"data": {"amount": 1_000_000_000_001_i64}}), "/1/data/amount"),
    ] {
        let problem = send(&app, &operator, MANY, &json!([good, event("2", changes)])).await;
        assert_eq!(pointers(&problem.expect_problem(422, "invalid-body")), [pointer]);
    }
    assert_eq!(
        app.count("SELECT COUNT(*) FROM activities WHERE kind = 'shop.purchase'")
            .await,
        0
    );
    let recorded = send(&app, &operator, MANY, &json!([good, other])).await.expect(201);
    assert_eq!(recorded["recorded"], 2);
    send(&app, &operator, MANY, &json!([]))
        .await
        .expect_problem(422, "invalid-body");
    send(&app, &operator, MANY, &good)
        .await
        .expect_problem(400, "malformed-json");
    send(&app, &operator, ONE, &json!([good]))
        .await
        .expect_problem(422, "invalid-body");
}
