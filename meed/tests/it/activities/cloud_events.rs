//! CloudEvents 1.0 as activities: one (structured mode) or an array of them (batched mode).

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{external, pointers};
use crate::support::{Reply, TestApp, on_both_engines, text, with};

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

#[apply(on_both_engines)]
async fn the_valid_events_of_a_batch_are_recorded_if_the_caller_prefers_it(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    external(&app, "customer-1").await;
    let batch = json!([
        event("1", json!({})),
        event("2", json!({"type": "auth.login"})),
        event("3", json!({"subject": "nobody"})),
        {"source": "shop", "id": "4", "externalUserId": "customer-1", "kind": "shop.purchase"},
        event("5", json!({"subject": null})),
        event("6", json!({})),
    ]);
    let lenient = async |body: String| {
        let call = app.post("/activities?firstLine=11").bearer(&operator);
        call.header("prefer", "handling=lenient").bytes(MANY, body).send().await
    };
    // Events may have several lines.
    let reply = lenient(serde_json::to_string_pretty(&batch).expect("JSON")).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("content-type")),
        (200, "application/x-ndjson")
    );
    let told: Value = serde_json::from_slice(&reply.bytes).expect("one line");
    assert_eq!(
        (&told["through"], &told["recorded"], &told["rejected"], &told["done"]),
        (&json!(16), &json!(2), &json!(4), &json!(true))
    );
    let errors = told["errors"].as_array().expect("errors").iter();
    let errors: Vec<_> = errors
        .map(|error| (error["line"].as_u64().expect("a number"), text(error, "pointer")))
        .collect();
    assert_eq!(errors, [(12, "/type"), (13, "/subject"), (14, ""), (15, "/subject")]);
    let recorded = "SELECT COUNT(*) FROM activities WHERE kind = 'shop.purchase'";
    assert_eq!(app.count(recorded).await, 2);
    let again: Value = serde_json::from_slice(&lenient(batch.to_string()).await.bytes).expect("one line");
    assert_eq!((&again["recorded"], &again["duplicates"]), (&json!(0), &json!(2)));
    lenient("[]".to_owned()).await.expect_problem(422, "invalid-body");
    lenient("[{]".to_owned()).await.expect_problem(400, "malformed-json");
}

#[apply(on_both_engines)]
async fn an_event_may_have_its_attributes_in_headers(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    external(&app, "customer%2F1%C3%A9").await;
    let binary = async |headers: &[(&str, &str)], content_type: &str, data: &str| {
        let mut call = app.post("/activities").bearer(&operator);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        call.bytes(content_type, data.to_owned()).send().await
    };
    let good = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/shop"),
        ("ce-type", "shop.purchase"),
        ("ce-subject", "customer%2F1%C3%A9"),
        ("ce-time", "2026-02-28T10:00:00Z"),
        (
            "ce-traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    let data = json!({"amount": 2500, "category": "hats"}).to_string();
    let recorded = binary(&good, "application/json; charset=utf-8", &data)
        .await
        .expect(201);
    assert_eq!(
        recorded["items"][0],
        json!({"source": "/shop", "id": "1", "outcome": "RECORDED"})
    );
    let amounts = "SELECT COUNT(*) FROM activities WHERE kind = 'shop.purchase' AND amount = 2500";
    assert_eq!(app.count(amounts).await, 1);
    // The same event in the structured mode.
    let same = json!({
        "specversion": "1.0", "id": "1", "source": "/shop", "type": "shop.purchase", "subject": "customer/1\u{e9}",
        "time": "2026-02-28T10:00:00Z", "data": {"amount": 2500, "category": "hats"},
    });
    assert_eq!(send(&app, &operator, ONE, &same).await.expect(200)["duplicates"], 1);
    let problem = binary(&good, "application/json", "{},\"subject\":\"x\"").await;
    problem.expect_problem(400, "malformed-json");
    let problem = binary(&good, "text/xml", "<a/>")
        .await
        .expect_problem(422, "invalid-body");
    assert_eq!(pointers(&problem), ["/datacontenttype"]);
    let problem = binary(&good, "application/json", "{\"amount\": 0.5}").await;
    assert_eq!(pointers(&problem.expect_problem(422, "invalid-body")), ["/data/amount"]);
    let problem = binary(&good[..4], "application/json", "{}")
        .await
        .expect_problem(422, "invalid-body");
    assert_eq!(pointers(&problem), ["/subject"]);
}
