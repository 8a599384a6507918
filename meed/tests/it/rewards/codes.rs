//! `/rewards/{id}/codes`: imported once, each given to one grant, shown to its owner only

use std::collections::BTreeSet;
use std::time::Duration;

use meed_host::auth::Role;
use meed_host::contract::{Award, Awards};
use meed_host::db::Json;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{
    Background, Receiver, Reply, TestApp, TestUser, assert_fault, guest, on_both_engines, reviewing, text, with,
};
use crate::webhook_endpoints::{endpoint, relayed};

const UNKNOWN: &str = "/rewards/0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77/codes";

fn path(reward: &Value) -> String {
    format!("/rewards/{}/codes", text(reward, "id"))
}

/// `count` codes that no text but a code contains.
pub fn codes(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("XYZZY-{number:04}")).collect()
}

pub async fn import(app: &TestApp, reward: &Value, codes: &[String]) -> Reply {
    send(app, &path(reward), "text/plain", &codes.join("\n")).await
}

async fn send(app: &TestApp, path: &str, content_type: &str, body: &str) -> Reply {
    let token = app.operator().await;
    let call = app.post(path).bearer(&token);
    call.bytes(content_type, body.to_owned()).send().await
}

/// A reward with this many codes.
pub async fn coupon(app: &TestApp, count: usize, changes: Value) -> Value {
    let reward = app
        .reward(with(json!({"type": "COUPON", "codes": true}), changes))
        .await;
    if count > 0 {
        let imported = import(app, &reward, &codes(count)).await.expect(200);
        assert_eq!(imported, json!({"imported": count, "duplicates": 0}));
    }
    reward
}

async fn event_of(app: &TestApp, reward: &Value) -> Value {
    let changes = json!({"rewardIds": [reward["id"]]});
    app.event("first-come", json!({}), changes).await
}

async fn counts(app: &TestApp, reward: &Value) -> (i64, i64, bool) {
    let counts = app.read(&path(reward)).await;
    let number = |member: &str| counts[member].as_i64().expect("a number");
    (number("total"), number("remaining"), counts["low"] == true)
}

/// The codes in a response with grants.
fn shown(body: &Value) -> Vec<String> {
    let grants = body["grants"].as_array().expect("grants");
    let codes = grants.iter().filter_map(|grant| grant["codes"].as_array()).flatten();
    codes.map(|code| code.as_str().expect("a code").to_owned()).collect()
}

async fn granted(app: &TestApp, user: &TestUser, event: &Value) -> Value {
    let request = app.claim(&user.token, event).send().await.expect(201);
    assert_eq!(text(&request, "status"), "GRANTED", "{request:#}");
    request
}

async fn reverse(app: &TestApp, request: &Value) {
    let operator = app.operator().await;
    let call = app
        .post(&format!("/reward-requests/{}/reversal", text(request, "id")))
        .bearer(&operator);
    call.json(&json!({"reason": "Returned"})).send().await.expect(201);
}

async fn exported(app: &TestApp, reward: &Value) -> Vec<String> {
    let operator = app.operator().await;
    let export = app
        .get(&format!("{}/export", path(reward)))
        .bearer(&operator)
        .send()
        .await;
    assert_eq!(
        (export.status.as_u16(), export.header("content-type")),
        (200, "application/x-ndjson")
    );
    let lines = String::from_utf8(export.bytes).expect("text");
    let code = |line: &str| {
        serde_json::from_str::<Value>(line).expect("JSON")["code"]
            .as_str()
            .map(str::to_owned)
    };
    lines.lines().map(|line| code(line).expect("a code")).collect()
}

async fn messages(app: &TestApp, kind: &'static str) -> Vec<Value> {
    let db = &app.app.db;
    let query = db
        .query("SELECT payload FROM outbox WHERE kind = $1 ORDER BY created_at, id")
        .bind(kind.to_owned());
    let rows: Vec<(Json<Value>,)> = query.fetch_all(db).await.expect("the outbox");
    rows.into_iter().map(|(payload,)| payload.0).collect()
}

#[apply(on_both_engines)]
async fn codes_are_imported_once_in_any_form(app: TestApp) {
    let reward = coupon(&app, 0, json!({})).await;
    assert_eq!((&reward["stock"], &reward["stockRemaining"]), (&json!(0), &json!(0)));
    let path = path(&reward);
    let lines = send(&app, &path, "text/plain; charset=utf-8", "A-1\r\n\nA-2\nA-1\n").await;
    assert_eq!(lines.expect(200), json!({"imported": 2, "duplicates": 1}));
    let objects = send(
        &app,
        &path,
        "application/x-ndjson",
        "{\"code\": \"A-2\"}\n{\"code\": \"A-3\"}",
    )
    .await;
    assert_eq!(objects.expect(200), json!({"imported": 1, "duplicates": 1}));
    let table = send(&app, &path, "text/csv", "note,code\n\"a, b\",A-4\nc,A-3\n").await;
    assert_eq!(table.expect(200), json!({"imported": 1, "duplicates": 1}));
    assert_eq!(app.read(&path).await, json!({"total": 4, "remaining": 4, "low": false}));
    assert_eq!(exported(&app, &reward).await, ["A-1", "A-2", "A-3", "A-4"]);
    let read = app.read(&format!("/rewards/{}", text(&reward, "id"))).await;
    assert_eq!(
        (&read["stock"], &read["stockRemaining"], &read["revision"]),
        (&json!(4), &json!(4), &json!(1))
    );

    let twice: Vec<String> = codes(9_000);
    assert_eq!(import(&app, &reward, &twice).await.expect(200)["imported"], 9_000);
    assert_eq!(
        import(&app, &reward, &twice).await.expect(200),
        json!({"imported": 0, "duplicates": 9_000})
    );
    assert_eq!(exported(&app, &reward).await[4..], twice);
    // Another reward may have the same codes.
    let other = coupon(&app, 0, json!({})).await;
    assert_eq!(import(&app, &other, &codes(3)).await.expect(200)["imported"], 3);
}

#[apply(on_both_engines)]
async fn a_faulty_import_changes_nothing(app: TestApp) {
    let reward = coupon(&app, 0, json!({})).await;
    let path = path(&reward);
    let long = "x".repeat(129);
    for (body, pointer) in [
        (format!("A-1\n{long}\nA-2"), "/2"),
        ("A-1\nA 2".to_owned(), "/2"),
        ("A-1\n\n\u{200b}A-2".to_owned(), "/3"),
        ("\n".to_owned(), ""),
    ] {
        assert_fault(send(&app, &path, "text/plain", &body).await, pointer);
    }
    assert_fault(send(&app, &path, "text/csv", "voucher\nA-1").await, "/1");
    let refused = send(
        &app,
        &path,
        "application/x-ndjson",
        "{\"code\": \"SECRET\", \"more\": 1}",
    )
    .await;
    assert!(!String::from_utf8_lossy(&refused.bytes).contains("SECRET"));
    assert_fault(refused, "/1");
    send(&app, &path, "application/json", "{}")
        .await
        .expect_problem(415, "unsupported-media-type");
    send(&app, &path, "text/plain", &"x".repeat(1 << 21))
        .await
        .expect_problem(413, "body-too-large");
    send(&app, UNKNOWN, "text/plain", "A-1")
        .await
        .expect_problem(404, "no-such-reward");
    let points = app.reward(json!({"type": "POINT"})).await;
    let without = format!("/rewards/{}/codes", text(&points, "id"));
    send(&app, &without, "text/plain", "A-1")
        .await
        .expect_problem(409, "reward-without-codes");
    let operator = app.operator().await;
    for path in [&without, &format!("{without}/export")] {
        app.get(path)
            .bearer(&operator)
            .send()
            .await
            .expect_problem(409, "reward-without-codes");
    }
    assert_eq!(counts(&app, &reward).await, (0, 0, false));
    assert_eq!(exported(&app, &reward).await, Vec::<String>::new());
}

#[apply(on_both_engines)]
async fn the_members_of_codes_belong_to_rewards_with_codes(app: TestApp) {
    let operator = app.operator().await;
    for (body, pointer) in [
        (json!({"type": "COUPON", "codes": true, "stock": 5}), "/stock"),
        (json!({"type": "COUPON", "codesLowWater": 5}), "/codesLowWater"),
        (json!({"type": "COUPON", "codesReturn": true}), "/codesReturn"),
        (
            json!({"type": "COUPON", "codes": true, "codesLowWater": 0}),
            "/codesLowWater",
        ),
    ] {
        assert_fault(app.post("/rewards").bearer(&operator).json(&body).send().await, pointer);
    }
    let reward = coupon(&app, 3, json!({})).await;
    let path = format!("/rewards/{}", text(&reward, "id"));
    let replace = async |body: Value| {
        app.put(&path)
            .bearer(&operator)
            .header("if-match", "*")
            .json(&body)
            .send()
            .await
    };
    assert_fault(replace(json!({"type": "COUPON"})).await, "/codes");
    assert_fault(
        replace(json!({"type": "COUPON", "codes": true, "stock": 9})).await,
        "/stock",
    );
    let changed = replace(json!({"type": "COUPON", "codes": true, "codesLowWater": 2, "codesReturn": true})).await;
    let changed = changed.expect(200);
    let expected = json!({
        "codes": true, "codesLowWater": 2, "codesReturn": true, "stock": 3, "stockRemaining": 3, "revision": 2,
    });
    assert_eq!(with(changed.clone(), expected), changed);
    let revisions = app.read(&format!("{path}/revisions")).await;
    // Imports change it without a revision.
    assert_eq!(revisions["items"][0]["reward"].get("stock"), None);
    let points = app.reward(json!({"type": "POINT"})).await;
    let call = app
        .put(&format!("/rewards/{}", text(&points, "id")))
        .bearer(&operator)
        .header("if-match", "*");
    assert_fault(
        call.json(&json!({"type": "POINT", "codes": true})).send().await,
        "/codes",
    );
}

#[apply(on_both_engines)]
async fn a_grant_shows_its_codes_to_its_owner_only(app: TestApp) {
    let reward = coupon(&app, 3, json!({})).await;
    let event = event_of(&app, &reward).await;
    let (ada, bob) = (app.user(Role::User).await, app.user(Role::User).await);
    let first = app
        .claim(&ada.token, &event)
        .header("idempotency-key", "k")
        .send()
        .await;
    let (bytes, request) = (first.bytes.clone(), first.expect(201));
    assert_eq!(shown(&request), ["XYZZY-0001"]);
    assert_eq!(request["grants"][0]["reward"]["codes"], true);
    let again = app
        .claim(&ada.token, &event)
        .header("idempotency-key", "k")
        .send()
        .await;
    assert_eq!((again.header("idempotent-replayed"), &again.bytes), ("true", &bytes));

    let id = text(&request, "id");
    let grant = format!("/grants/{}", text(&request["grants"][0], "id"));
    let own = async |path: &str| app.get(path).bearer(&ada.token).send().await.expect(200);
    assert_eq!(shown(&own(&format!("/reward-requests/{id}")).await), ["XYZZY-0001"]);
    assert_eq!(shown(&own("/reward-requests/mine").await["items"][0]), ["XYZZY-0001"]);
    assert_eq!(own(&grant).await["codes"], json!(["XYZZY-0001"]));
    app.get(&grant)
        .bearer(&bob.token)
        .send()
        .await
        .expect_problem(404, "no-such-grant");
    assert_eq!(shown(&granted(&app, &bob, &event).await), ["XYZZY-0002"]);
    assert_eq!(counts(&app, &reward).await, (3, 1, false));

    // Staff see that there is one. Nothing that is stored contains it.
    for token in [app.operator().await, app.auditor().await, app.token(Role::Admin).await] {
        for path in [
            &format!("/reward-requests/{id}"),
            "/reward-requests",
            &grant,
            "/grants",
            &format!("/reward-requests/{id}/receipt"),
        ] {
            let reply = app.get(path).bearer(&token).send().await;
            let body = String::from_utf8_lossy(&reply.bytes).into_owned();
            assert!(!body.contains("XYZZY"), "{path}: {body}");
            assert!(
                path.contains("receipt") || body.contains("\"codes\":true"),
                "{path}: {body}"
            );
            reply.expect(200);
        }
    }
    let auditor = app.auditor().await;
    let log = app.get("/audit?pageSize=200").bearer(&auditor).send().await;
    let entries = String::from_utf8_lossy(&log.bytes).into_owned();
    assert!(!entries.contains("XYZZY"), "{entries}");
    let log = log.expect(200);
    let import = log["items"]
        .as_array()
        .expect("entries")
        .iter()
        .find(|entry| entry["action"] == "POST /rewards/{id}/codes");
    assert_eq!(
        import.expect("an entry")["changes"],
        json!({"codes": {"old": 0, "new": 3}, "duplicateCodes": {"old": null, "new": 0}})
    );
    for sql in [
        "SELECT response FROM idempotency_keys",
        "SELECT CAST(payload AS TEXT) FROM outbox",
        "SELECT receipt FROM reward_requests",
    ] {
        let rows: Vec<(String,)> = app.app.db.query(sql).fetch_all(&app.app.db).await.expect(sql);
        assert!(!rows.is_empty(), "{sql}");
        assert!(rows.iter().all(|(text,)| !text.contains("XYZZY")), "{sql}: {rows:?}");
    }
}

#[apply(on_both_engines)]
async fn a_grant_of_a_quantity_has_as_many_codes(app: TestApp) {
    let reward = coupon(&app, 6, json!({})).await;
    let mut triple = guest("triple");
    if let Ok(decision) = &mut triple.decision {
        let reward_id = text(&reward, "id").to_owned();
        decision.awards = Awards::Chosen(vec![Award { reward_id, quantity: 3 }]);
    }
    let plugin = app.install(triple.module()).await;
    let changes = json!({"rewardIds": [reward["id"]], "maxQuantity": 3});
    let event = app.event_on(&plugin, json!({}), changes).await;
    let users = app.crowd(3).await;
    assert_eq!(shown(&granted(&app, &users[0], &event).await), codes(6)[..3]);
    assert_eq!(shown(&granted(&app, &users[1], &event).await), codes(6)[3..6]);
    let refused = app.claim(&users[2].token, &event).send().await.expect(201);
    assert_eq!(
        (text(&refused, "status"), text(&refused["reasons"][0], "code")),
        ("REJECTED", "sold-out")
    );
    assert_eq!(counts(&app, &reward).await, (6, 0, false));
}

#[apply(on_both_engines)]
async fn of_many_claims_at_two_processes_each_code_is_given_to_one(app: TestApp) {
    let replica = app.replica(&[]);
    let reward = coupon(&app, 40, json!({})).await;
    let event = event_of(&app, &reward).await;
    let other = event_of(&app, &reward).await;
    let users = app.crowd(60).await;
    let mut claims = Vec::new();
    for (number, user) in users.iter().enumerate() {
        for (process, event) in [(&app, &event), (&replica, &other)] {
            let key = format!("{number} {}", text(event, "id"));
            let call = process.claim(&user.token, event);
            let call = call.header("idempotency-key", &key.replace(' ', "-"));
            claims.push(tokio::spawn(call.send()));
        }
    }
    // More codes arrive meanwhile.
    let more: Vec<String> = (1..=10).map(|number| format!("PLUGH-{number}")).collect();
    let imported = import(&app, &reward, &more).await.expect(200);
    assert_eq!(imported["imported"], 10);
    let (mut given, mut refused) = (Vec::new(), 0);
    for claim in claims {
        let reply = claim.await.expect("an answer");
        let request = reply.expect(201);
        if text(&request, "status") == "GRANTED" {
            let shown = shown(&request);
            assert_eq!(shown.len(), 1, "{request:#}");
            given.extend(shown);
        } else {
            assert_eq!(text(&request["reasons"][0], "code"), "sold-out");
            refused += 1;
        }
    }
    let distinct: BTreeSet<&String> = given.iter().collect();
    assert_eq!(distinct.len(), given.len(), "a code was given twice");
    let left = exported(&app, &reward).await;
    let all: BTreeSet<String> = given.iter().chain(&left).cloned().collect();
    assert_eq!(all, codes(40).into_iter().chain(more).collect(), "a code was lost");
    assert_eq!(given.len() + left.len(), 50);
    assert!(given.len() >= 40, "{} given, {refused} refused", given.len());
    assert_eq!(
        counts(&app, &reward).await,
        (50, i64::try_from(left.len()).expect("few"), false)
    );
}

#[apply(on_both_engines)]
async fn an_import_ends_that_the_event_is_sold_out(app: TestApp) {
    let replica = app.replica(&[]);
    let reward = coupon(&app, 0, json!({})).await;
    let event = event_of(&app, &reward).await;
    let user = app.user(Role::User).await;
    for process in [&app, &replica] {
        let refused = process.claim(&user.token, &event).send().await;
        assert_eq!(text(&refused.json["reasons"][0], "code"), "sold-out");
    }
    import(&app, &reward, &codes(1)).await.expect(200);
    assert_eq!(shown(&granted(&app, &user, &event).await), codes(1));
}

#[apply(on_both_engines)]
async fn a_reversal_spends_codes_or_returns_them(app: TestApp) {
    let spent = coupon(&app, 2, json!({})).await;
    let event = event_of(&app, &spent).await;
    let users = app.crowd(3).await;
    let request = granted(&app, &users[0], &event).await;
    reverse(&app, &request).await;
    assert_eq!(counts(&app, &spent).await, (2, 1, false));
    let seen = app
        .get(&format!("/reward-requests/{}", text(&request, "id")))
        .bearer(&users[0].token);
    assert_eq!(shown(&seen.send().await.expect(200)), Vec::<String>::new());
    assert_eq!(shown(&granted(&app, &users[0], &event).await), ["XYZZY-0002"]);

    let returned = coupon(&app, 2, json!({"codesReturn": true})).await;
    let event = event_of(&app, &returned).await;
    let request = granted(&app, &users[0], &event).await;
    assert_eq!(shown(&request), ["XYZZY-0001"]);
    reverse(&app, &request).await;
    assert_eq!(counts(&app, &returned).await, (2, 2, false));
    // It is behind the others now.
    assert_eq!(exported(&app, &returned).await, ["XYZZY-0002", "XYZZY-0001"]);
    assert_eq!(
        import(&app, &returned, &codes(3)).await.expect(200),
        json!({"imported": 1, "duplicates": 2})
    );
    for (user, code) in users.iter().zip(["XYZZY-0002", "XYZZY-0001", "XYZZY-0003"]) {
        assert_eq!(shown(&granted(&app, user, &event).await), [code]);
    }
    assert_eq!(counts(&app, &returned).await, (3, 0, false));
}

#[apply(on_both_engines)]
async fn few_codes_are_told_once_until_more_arrive(app: TestApp) {
    let reward = coupon(&app, 4, json!({"codesLowWater": 3})).await;
    let event = event_of(&app, &reward).await;
    let users = app.crowd(5).await;
    granted(&app, &users[0], &event).await;
    assert_eq!(
        (
            counts(&app, &reward).await,
            messages(&app, "reward.codes-low").await.len()
        ),
        ((4, 3, false), 0)
    );
    granted(&app, &users[1], &event).await;
    granted(&app, &users[2], &event).await;
    let message = json!({"rewardId": reward["id"], "remaining": 2, "total": 4, "lowWater": 3});
    let first = messages(&app, "reward.codes-low").await;
    assert_eq!(first, std::slice::from_ref(&message));
    assert_eq!(counts(&app, &reward).await, (4, 1, true));
    import(&app, &reward, &["NEW-1".to_owned()]).await.expect(200);
    app.at("2026-03-01T12:00:01Z");
    granted(&app, &users[3], &event).await;
    granted(&app, &users[4], &event).await;
    let again = json!({"rewardId": reward["id"], "remaining": 1, "total": 5, "lowWater": 3});
    assert_eq!(messages(&app, "reward.codes-low").await, [message, again]);
}

#[apply(on_both_engines)]
async fn the_message_that_fulfils_a_grant_has_its_codes(app: TestApp) {
    let (app, relaying) = relayed(&app);
    let receiver = Receiver::start().await;
    let endpoint = endpoint(&app, &receiver, &["reward.granted"]).await;
    let reward = coupon(&app, 1, json!({})).await;
    let event = event_of(&app, &reward).await;
    let user = app.user(Role::User).await;
    let request = granted(&app, &user, &event).await;
    let message = &receiver.wait_for(1).await[0];
    assert_eq!(shown(&message.event["data"]), ["XYZZY-0001"]);
    assert_eq!(message.event["data"]["grants"][0]["id"], request["grants"][0]["id"]);
    let deliveries = format!("/webhook-endpoints/{}/deliveries", text(&endpoint, "id"));
    let operator = app.operator().await;
    let delivery = app
        .get(&format!("{deliveries}/{}", message.id()))
        .bearer(&operator)
        .send()
        .await;
    assert!(!String::from_utf8_lossy(&delivery.bytes).contains("XYZZY"));
    assert_eq!(
        delivery.expect(200)["event"]["data"]["grants"][0]["reward"]["codes"],
        true
    );
    relaying.stop().await;
}

#[apply(on_both_engines)]
async fn an_approved_claim_gets_codes(app: TestApp) {
    let reward = coupon(&app, 1, json!({"codesLowWater": 1})).await;
    let plugin = app.install(reviewing("reviewed").module()).await;
    let event = app
        .event_on(&plugin, json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let user = app.user(Role::User).await;
    let held = app.claim(&user.token, &event).send().await.expect(201);
    assert_eq!(
        (text(&held, "status"), counts(&app, &reward).await),
        ("HELD", (1, 1, false))
    );
    let operator = app.operator().await;
    let path = format!("/reward-requests/{}", text(&held, "id"));
    let approval = app
        .post(&format!("{path}/approval"))
        .bearer(&operator)
        .json(&json!({"reason": "Fine"}));
    let approval = approval.send().await;
    assert!(!String::from_utf8_lossy(&approval.bytes).contains("XYZZY"));
    approval.expect(200);
    let seen = app.get(&path).bearer(&user.token).send().await.expect(200);
    assert_eq!(shown(&seen), ["XYZZY-0001"]);
    assert_eq!(messages(&app, "reward.codes-low").await.len(), 1);
}

#[apply(on_both_engines)]
async fn a_pending_claim_gets_codes(app: TestApp) {
    let reward = coupon(&app, 1, json!({})).await;
    let event = event_of(&app, &reward).await;
    let user = app.user(Role::User).await;
    let call = app.claim(&user.token, &event).header("prefer", "respond-async");
    let pending = call.header("idempotency-key", "k").send().await.expect(202);
    let claims = app.app.claims.clone();
    let worker = Background::start(&app.clock, move || claims.worker());
    let path = format!("/reward-requests/{}", text(&pending, "id"));
    let mut seen = pending;
    for _ in 0..400 {
        seen = app.get(&path).bearer(&user.token).send().await.expect(200);
        if seen["status"] != "RECEIVED" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(shown(&seen), ["XYZZY-0001"]);
    let repeat = app
        .claim(&user.token, &event)
        .header("idempotency-key", "k")
        .send()
        .await;
    assert_eq!(shown(&repeat.expect(201)), ["XYZZY-0001"]);
    worker.stop().await;
}

#[apply(on_both_engines)]
async fn an_export_is_recorded(app: TestApp) {
    let reward = coupon(&app, 2_500, json!({})).await;
    assert_eq!(exported(&app, &reward).await, codes(2_500));
    let auditor = app.auditor().await;
    let query = "/audit?action=GET%20/rewards/%7Bid%7D/codes/export";
    let log = app.get(query).bearer(&auditor).send().await.expect(200);
    assert_eq!(
        log["items"][0]["changes"],
        json!({"exportedCodes": {"old": null, "new": 2_500}})
    );
    assert_eq!(log["items"][0]["targetId"], reward["id"]);
    let user = app.token(Role::User).await;
    for path in [path(&reward), format!("{}/export", path(&reward))] {
        app.get(&path)
            .bearer(&user)
            .send()
            .await
            .expect_problem(403, "forbidden");
    }
}
