//! `/rewards`

pub mod codes;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, assert_fault, each, on_both_engines, text, with};

const UNKNOWN: &str = "/rewards/0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";

fn coupon() -> Value {
    json!({
        "type": "COUPON", "itemId": "sku-summer-10", "value": 1000, "duration": "P30D",
        "description": "10 % off the summer shop", "stock": 10,
    })
}

async fn create(app: &TestApp, body: Value) -> Reply {
    let token = app.operator().await;
    app.post("/rewards").bearer(&token).json(&body).send().await
}

async fn replace(app: &TestApp, path: &str, etag: &str, body: Value) -> Reply {
    let token = app.operator().await;
    let call = app.put(path).bearer(&token).header("if-match", etag);
    call.json(&body).send().await
}

#[apply(on_both_engines)]
async fn needs_a_token(app: TestApp) {
    app.get("/rewards").send().await.expect_problem(401, "unauthenticated");
    app.post("/rewards")
        .json(&json!({"type": "POINT"}))
        .send()
        .await
        .expect_problem(401, "unauthenticated");
}

#[apply(on_both_engines)]
async fn a_reward_is_created_and_read(app: TestApp) {
    let reply = create(&app, coupon()).await;
    let (location, etag) = (reply.header("location").to_owned(), reply.header("etag").to_owned());
    let reward = reply.expect(201);
    assert_eq!(
        (location.as_str(), etag.as_str()),
        (format!("/rewards/{}", text(&reward, "id")).as_str(), "\"1\"")
    );
    let answer = with(
        coupon(),
        json!({
            "id": reward["id"], "name": reward["id"], "stockRemaining": 10, "revision": 1, "appliedRevision": null, "codes": false, "codesLowWater": null,
            "codesReturn": false,
            "createdAt": "2026-03-01T12:00:00.000Z", "updatedAt": "2026-03-01T12:00:00.000Z",
        }),
    );
    assert_eq!(reward, answer);
    let token = app.operator().await;
    let read = app.get(&location).bearer(&token).send().await;
    assert_eq!(read.header("etag"), "\"1\"");
    assert_eq!(read.expect(200), reward);

    let least = create(&app, json!({"type": "P"})).await.expect(201);
    for member in [
        "itemId",
        "value",
        "duration",
        "description",
        "stock",
        "stockRemaining",
        "codesLowWater",
    ] {
        assert_eq!(least[member], Value::Null, "{member}");
    }
}

#[apply(on_both_engines)]
async fn every_field_is_checked(app: TestApp) {
    let long = |length| "x".repeat(length);
    let cases = [
        ("/type", json!({"type": null})),
        ("/type", json!({"type": 7})),
        ("/type", json!({"type": ""})),
        ("/type", json!({"type": "coupon"})),
        ("/type", json!({"type": "7UP"})),
        ("/type", json!({"type": "GIFT CARD"})),
        ("/type", json!({"type": "A".repeat(33)})),
        ("/itemId", json!({"itemId": ""})),
        ("/itemId", json!({"itemId": long(201)})),
        ("/itemId", json!({"itemId": 7})),
        ("/itemId", json!({"itemId": "a\u{0}b"})),
        ("/value", json!({"value": -1})),
        ("/value", json!({"value": 1.5})),
        ("/value", json!({"value": "1000"})),
        ("/value", json!({"value": 9_007_199_254_740_992_i64})),
        ("/duration", json!({"duration": ""})),
        ("/duration", json!({"duration": long(65)})),
        ("/duration", json!({"duration": "\u{0}"})),
        ("/description", json!({"description": long(2001)})),
        ("/description", json!({"description": "\u{0}"})),
        ("/stock", json!({"stock": -1})),
        ("/stock", json!({"stock": 1_000_000_001})),
        ("/stock", json!({"stock": "many"})),
        ("/codes", json!({"codes": "yes"})),
        ("/codesLowWater", json!({"codesLowWater": 1_000_000_001})),
        ("/codesReturn", json!({"codesReturn": null})),
        ("/colour", json!({"colour": "red"})),
    ];
    for (pointer, changes) in cases {
        assert_fault(create(&app, with(coupon(), changes)).await, pointer);
    }
    create(&app, json!({})).await.expect_problem(422, "invalid-body");
    create(&app, json!([])).await.expect_problem(422, "invalid-body");
    create(&app, json!(null)).await.expect_problem(422, "invalid-body");
    let at_the_limits = json!({
        "type": "A".repeat(32), "itemId": long(200), "value": 9_007_199_254_740_991_i64, "duration": long(64),
        "description": long(2000), "stock": 1_000_000_000,
    });
    create(&app, at_the_limits).await.expect(201);
    create(
        &app,
        json!({"type": "ITEM_2", "description": "é\n\u{1f381}", "value": 0, "stock": 0}),
    )
    .await
    .expect(201);
    assert_eq!(app.read("/rewards").await["items"].as_array().map(Vec::len), Some(2));
}

#[apply(on_both_engines)]
async fn a_body_that_is_not_json_is_rejected(app: TestApp) {
    let token = app.operator().await;
    let send = async |content_type: &str, body: &str| {
        app.post("/rewards")
            .bearer(&token)
            .bytes(content_type, body.to_owned())
            .send()
            .await
    };
    send("application/json", "").await.expect_problem(400, "malformed-json");
    send("application/json", "{\"type\": \"POINT\"")
        .await
        .expect_problem(400, "malformed-json");
    send("application/json", "{\"type\": \"POINT\"} {}")
        .await
        .expect_problem(400, "malformed-json");
    send("application/json", "{\"type\": \"\u{1}\"}")
        .await
        .expect_problem(400, "malformed-json");
    send("text/plain", "{\"type\": \"POINT\"}")
        .await
        .expect_problem(415, "unsupported-media-type");
    let large = format!("{{\"type\": \"{}\"}}", "A".repeat(1 << 20));
    send("application/json", &large)
        .await
        .expect_problem(413, "body-too-large");
    send("application/json; charset=utf-8", "{\"type\": \"POINT\"}")
        .await
        .expect(201);
}

#[apply(on_both_engines)]
async fn the_next_claim_grants_the_changed_reward(app: TestApp) {
    let reward = create(&app, json!({"type": "POINT", "value": 100})).await.expect(201);
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    for (revision, value) in [(1, 100), (2, 90), (3, 80)] {
        let token = app.token(Role::User).await;
        let request = app.claim(&token, &event).send().await.expect(201);
        let granted = &request["grants"][0]["reward"];
        assert_eq!(
            (&granted["value"], &granted["revision"]),
            (&json!(value), &json!(revision))
        );
        let change = json!({"type": "POINT", "value": value - 10});
        let path = format!("/rewards/{}", text(&reward, "id"));
        replace(&app, &path, &format!("\"{revision}\""), change)
            .await
            .expect(200);
    }
}

#[apply(on_both_engines)]
async fn a_replacement_requires_the_current_revision(app: TestApp) {
    let reward = create(&app, coupon()).await.expect(201);
    let path = format!("/rewards/{}", text(&reward, "id"));
    app.at("2026-03-01T13:00:00Z");
    let token = app.operator().await;
    let blind = app.put(&path).bearer(&token).json(&coupon()).send().await;
    blind.expect_problem(428, "revision-required");
    // An unknown ETag and an invalid one never match (RFC 9110).
    for etag in ["1", "\"one\"", "\"01\"", "W/\"2\""] {
        replace(&app, &path, etag, coupon())
            .await
            .expect_problem(412, "reward-changed");
    }
    replace(&app, &path, "\"2\"", coupon())
        .await
        .expect_problem(412, "reward-changed");
    assert_eq!(app.read(&path).await, reward);

    let reply = replace(&app, &path, "\"1\"", json!({"type": "ITEM", "stock": 5})).await;
    assert_eq!(reply.header("etag"), "\"2\"");
    let changed = reply.expect(200);
    assert_eq!(
        (text(&changed, "type"), &changed["itemId"], &changed["revision"]),
        ("ITEM", &Value::Null, &json!(2))
    );
    assert_eq!((&changed["stock"], &changed["stockRemaining"]), (&json!(5), &json!(5)));
    assert_eq!(
        (text(&changed, "createdAt"), text(&changed, "updatedAt")),
        ("2026-03-01T12:00:00.000Z", "2026-03-01T13:00:00.000Z")
    );
    assert_eq!(app.read(&path).await, changed);
    replace(&app, &path, "\"1\"", coupon())
        .await
        .expect_problem(412, "reward-changed");
    replace(&app, &path, "*", coupon()).await.expect(200);
    replace(&app, UNKNOWN, "\"1\"", coupon())
        .await
        .expect_problem(404, "no-such-reward");
    let delete = |etag: &str| app.call("DELETE", &path).bearer(&token).header("if-match", etag).send();
    delete("\"2\"").await.expect_problem(412, "reward-changed");
    delete("\"3\"").await.expect(204);
}

#[apply(on_both_engines)]
async fn stock_cannot_fall_below_the_granted_number(app: TestApp) {
    let reward = create(&app, json!({"type": "POINT", "stock": 3})).await.expect(201);
    let path = format!("/rewards/{}", text(&reward, "id"));
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    for _ in 0..2 {
        let token = app.token(Role::User).await;
        assert_eq!(app.claim(&token, &event).send().await.expect(201)["status"], "GRANTED");
    }
    let read = app.read(&path).await;
    assert_eq!((&read["stock"], &read["stockRemaining"]), (&json!(3), &json!(1)));
    // A grant does not change the reward's revision.
    assert_eq!(read["revision"], 1);

    let stock = |stock: Value| json!({"type": "POINT", "stock": stock});
    replace(&app, &path, "\"1\"", stock(json!(1)))
        .await
        .expect_problem(409, "stock-below-granted");
    assert_eq!(app.read(&path).await, read);
    let raised = replace(&app, &path, "\"1\"", stock(json!(10))).await.expect(200);
    assert_eq!((&raised["stock"], &raised["stockRemaining"]), (&json!(10), &json!(8)));
    let closed = replace(&app, &path, "\"2\"", stock(json!(2))).await.expect(200);
    assert_eq!((&closed["stock"], &closed["stockRemaining"]), (&json!(2), &json!(0)));
    let unlimited = replace(&app, &path, "\"3\"", stock(Value::Null)).await.expect(200);
    assert_eq!(
        (&unlimited["stock"], &unlimited["stockRemaining"]),
        (&Value::Null, &Value::Null)
    );
}

#[apply(on_both_engines)]
async fn pages_show_every_reward_once(app: TestApp) {
    let mut ids = Vec::new();
    for number in 0..5 {
        app.at(&format!("2026-03-01T12:00:0{number}Z"));
        let kind = if number % 2 == 0 { "POINT" } else { "ITEM" };
        ids.insert(
            0,
            text(&create(&app, json!({"type": kind})).await.expect(201), "id").to_owned(),
        );
    }
    assert_eq!(each(&app.read("/rewards").await["items"], "id"), ids);
    let first = app.read("/rewards?pageSize=2").await;
    // Rewards added meanwhile neither repeat nor hide others.
    app.at("2026-03-01T12:00:09Z");
    create(&app, json!({"type": "POINT"})).await.expect(201);
    let second = app
        .read(&format!(
            "/rewards?pageSize=2&pageToken={}",
            text(&first, "nextPageToken")
        ))
        .await;
    let third = app
        .read(&format!(
            "/rewards?pageSize=2&pageToken={}",
            text(&second, "nextPageToken")
        ))
        .await;
    let seen = [&first, &second, &third]
        .map(|page| each(&page["items"], "id"))
        .concat();
    assert_eq!(seen, ids);
    assert_eq!(third.get("nextPageToken"), None);

    assert_eq!(
        each(&app.read("/rewards?type=ITEM").await["items"], "id"),
        [ids[1].as_str(), ids[3].as_str()]
    );
    assert_eq!(app.read("/rewards?type=GOLD").await["items"], json!([]));
}

#[apply(on_both_engines)]
async fn an_invalid_parameter_is_rejected(app: TestApp) {
    let token = app.operator().await;
    for path in [
        "/rewards?pageSize=0",
        "/rewards?pageSize=201",
        "/rewards?pageSize=two",
        "/rewards?pageToken=x",
        "/rewards?type=%00",
        "/rewards/7",
        "/rewards/not-an-id",
    ] {
        app.get(path)
            .bearer(&token)
            .send()
            .await
            .expect_problem(400, "invalid-parameter");
    }
    app.get(UNKNOWN)
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-reward");
}

#[apply(on_both_engines)]
async fn a_reward_that_no_event_offers_is_deleted(app: TestApp) {
    let reward = create(&app, coupon()).await.expect(201);
    let path = format!("/rewards/{}", text(&reward, "id"));
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let user = app.user(Role::User).await;
    let claimed = app.claim(&user.token, &event).send().await.expect(201);
    let token = app.operator().await;
    app.delete(&path)
        .bearer(&token)
        .send()
        .await
        .expect_problem(409, "reward-in-use");

    let other = create(&app, json!({"type": "ITEM"})).await.expect(201);
    app.change_event(&event, json!({"rewardIds": [other["id"]]}))
        .await
        .expect(200);
    assert_eq!(app.delete(&path).bearer(&token).send().await.status, 204);
    app.get(&path)
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-reward");
    app.delete(&path)
        .bearer(&token)
        .send()
        .await
        .expect_problem(404, "no-such-reward");
    replace(&app, &path, "\"2\"", coupon())
        .await
        .expect_problem(404, "no-such-reward");
    assert_eq!(each(&app.read("/rewards").await["items"], "id"), [text(&other, "id")]);
    // Its grants remain.
    let kept = app.read(&format!("/reward-requests/{}", text(&claimed, "id"))).await;
    assert_eq!(kept["grants"], claimed["grants"]);
}

#[apply(on_both_engines)]
async fn each_revision_stays_readable(app: TestApp) {
    let created = create(&app, coupon()).await.expect(201);
    let path = format!("/rewards/{}", text(&created, "id"));
    app.at("2026-03-01T12:01:00Z");
    let changed = with(coupon(), json!({"duration": "P7D", "stock": 20}));
    let changed = replace(&app, &path, "\"1\"", changed).await.expect(200);
    app.at("2026-03-01T12:02:00Z");
    let operator = app.operator().await;
    assert_eq!(app.delete(&path).bearer(&operator).send().await.status, 204);

    let event = app.event("first-come", json!({}), json!({})).await;
    let history = format!("{path}/revisions");
    let first = app.read(&format!("{history}?pageSize=2")).await;
    let next = format!("{history}?pageSize=2&pageToken={}", text(&first, "nextPageToken"));
    let rest = app.read(&next).await;
    let revisions = [&first["items"][0], &first["items"][1], &rest["items"][0]];
    assert_eq!(
        revisions.map(|revision| (revision["revision"].as_i64(), text(revision, "changedAt"))),
        [
            (Some(3), "2026-03-01T12:02:00.000Z"),
            (Some(2), "2026-03-01T12:01:00.000Z"),
            (Some(1), "2026-03-01T12:00:00.000Z"),
        ]
    );
    assert_eq!(revisions[0]["reward"], Value::Null);
    for (revision, reward) in [(revisions[1], changed), (revisions[2], created)] {
        let mut reward = reward;
        reward.as_object_mut().expect("an object").remove("stockRemaining");
        assert_eq!(revision["reward"], reward);
        assert_eq!(revision["changedBy"], event["createdBy"]);
    }
    app.get(&format!("{UNKNOWN}/revisions"))
        .bearer(&operator)
        .send()
        .await
        .expect_problem(404, "no-such-reward");
}
