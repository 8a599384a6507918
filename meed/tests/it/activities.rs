//! `/activities` and `/users/{id}/activities`

mod cloud_events;
mod streams;

use std::collections::BTreeMap;

use meed_host::activities::OwnActivity;
use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, TestUser, on_both_engines};

/// The time at which every test begins.
const START: &str = "2026-03-01T12:00:00Z";
const UNKNOWN: &str = "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";

fn purchase(id: &str, user: &str) -> Value {
    json!({
        "source": "shop", "id": id, "userId": user, "kind": "shop.purchase",
        "occurredAt": "2026-02-28T10:00:00Z", "amount": 2500,
        "attributes": {"category": "hats", "items": 2, "gift": false, "weight": 10.0},
    })
}

/// The purchase with one field changed; null removes it.
fn with(field: &str, value: Value, user: &str) -> Value {
    let mut changed = purchase("changed", user);
    if value.is_null() {
        changed.as_object_mut().expect("an object").remove(field);
    } else {
        changed[field] = value;
    }
    changed
}

async fn report(app: &TestApp, token: &str, body: &Value) -> Reply {
    app.post("/activities").bearer(token).json(body).send().await
}

async fn history(app: &TestApp, user: &TestUser, query: &str) -> Value {
    let path = format!("/users/{}/activities{query}", user.id);
    app.get(&path).bearer(&user.token).send().await.expect(200)
}

fn ids(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|item| item["id"].as_str().expect("an id")).collect()
}

fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().expect("errors");
    errors
        .iter()
        .map(|error| error["pointer"].as_str().expect("a pointer"))
        .collect()
}

/// The reported activities of this user, without the server's own ones for a new account.
async fn reported(app: &TestApp, user: &TestUser) -> Vec<Value> {
    let page = history(app, user, "?pageSize=200").await;
    let items = page["items"].as_array().expect("items");
    items.iter().filter(|item| item["source"] != "meed").cloned().collect()
}

#[apply(on_both_engines)]
async fn every_route_lets_in_exactly_its_roles(app: TestApp) {
    let user = app.user(Role::User).await;
    let path = format!("/users/{}/activities", user.id);
    let body = purchase("role", &user.id);
    app.post("/activities")
        .json(&body)
        .send()
        .await
        .expect_problem(401, "unauthenticated");
    app.get(&path).send().await.expect_problem(401, "unauthenticated");
    for (role, status) in [
        (Role::User, 403),
        (Role::Operator, 201),
        (Role::Auditor, 403),
        // The source belongs to the operator.
        (Role::Admin, 409),
    ] {
        let caller = app.user(role).await;
        let reply = report(&app, &caller.token, &body).await;
        assert_eq!(reply.status.as_u16(), status, "{role}: {:#}", reply.json);
        // Their own activities, and those of another user.
        history(&app, &caller, "").await;
        let reply = app.get(&path).bearer(&caller.token).send().await;
        let status = if status == 403 { 403 } else { 200 };
        assert_eq!(reply.status.as_u16(), status, "{role}: {:#}", reply.json);
    }
    let operator = app.token(Role::Operator).await;
    app.get(&format!("/users/{UNKNOWN}/activities"))
        .bearer(&operator)
        .send()
        .await
        .expect_problem(404, "no-such-user");
    app.get("/users/someone/activities")
        .bearer(&operator)
        .send()
        .await
        .expect_problem(400, "invalid-parameter");
}

#[apply(on_both_engines)]
async fn an_activity_is_recorded_as_it_was_reported(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let user = app.user(Role::User).await;
    let reply = report(&app, &operator, &purchase("order-1", &user.id))
        .await
        .expect(201);
    assert_eq!(
        reply,
        json!({
            "recorded": 1, "duplicates": 0,
            "items": [{"source": "shop", "id": "order-1", "outcome": "RECORDED"}],
        })
    );
    assert_eq!(
        reported(&app, &user).await,
        [json!({
            "source": "shop", "id": "order-1", "userId": user.id, "kind": "shop.purchase",
            "occurredAt": "2026-02-28T10:00:00.000Z", "amount": 2500,
            "attributes": {"category": "hats", "gift": "false", "items": "2", "weight": "10"},
            "recordedAt": "2026-03-01T12:00:00.000Z",
        })]
    );
}

#[apply(on_both_engines)]
async fn a_missing_time_is_now_and_missing_fields_are_empty(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let user = app.user(Role::User).await;
    let least = json!({"source": "game", "id": "m", "userId": user.id, "kind": "match.won"});
    report(&app, &operator, &least).await.expect(201);
    app.at("2026-03-01T12:08:00Z");
    // Repeated later, it is the same activity.
    report(&app, &operator, &least).await.expect(200);
    let recorded = &reported(&app, &user).await[0];
    assert_eq!(recorded["occurredAt"], "2026-03-01T12:00:00.000Z");
    assert_eq!(
        (&recorded["amount"], &recorded["attributes"]),
        (&Value::Null, &json!({}))
    );
}

#[apply(on_both_engines)]
async fn repeating_a_call_records_nothing_twice(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let user = app.user(Role::User).await;
    let batch = json!([
        purchase("b", &user.id),
        purchase("a", &user.id),
        purchase("b", &user.id)
    ]);
    let first = report(&app, &operator, &batch).await.expect(201);
    let outcomes = |reply: &Value| {
        reply["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| {
                format!(
                    "{} {}",
                    item["id"].as_str().expect("an id"),
                    item["outcome"].as_str().expect("an outcome")
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!((&first["recorded"], &first["duplicates"]), (&json!(2), &json!(1)));
    assert_eq!(outcomes(&first), ["b RECORDED", "a RECORDED", "b DUPLICATE"]);
    let second = report(
        &app,
        &operator,
        &json!([purchase("a", &user.id), purchase("c", &user.id)]),
    )
    .await
    .expect(201);
    assert_eq!(outcomes(&second), ["a DUPLICATE", "c RECORDED"]);
    let third = report(&app, &operator, &batch).await.expect(200);
    assert_eq!((&third["recorded"], &third["duplicates"]), (&json!(0), &json!(3)));
    assert_eq!(reported(&app, &user).await.len(), 3);
    // The same id from another source is a different activity.
    let mut other = purchase("a", &user.id);
    other["source"] = json!("shop-2");
    report(&app, &operator, &other).await.expect(201);
}

#[apply(on_both_engines)]
async fn the_same_id_with_different_content_is_a_conflict(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let user = app.user(Role::User).await;
    let other = app.user(Role::User).await;
    report(&app, &operator, &purchase("changed", &user.id))
        .await
        .expect(201);
    for (field, value) in [
        ("userId", json!(other.id)),
        ("kind", json!("shop.refund")),
        ("occurredAt", json!("2026-02-28T10:00:00.001Z")),
        ("amount", json!(2501)),
        ("amount", Value::Null),
        ("attributes", json!({"category": "hats"})),
        ("attributes", Value::Null),
    ] {
        let changed = with(field, value, &user.id);
        let problem = report(&app, &operator, &changed)
            .await
            .expect_problem(409, "activity-conflict");
        assert_eq!(pointers(&problem), [format!("/{field}")]);
        let batch = json!([purchase("fresh", &user.id), changed]);
        let problem = report(&app, &operator, &batch)
            .await
            .expect_problem(409, "activity-conflict");
        assert_eq!(pointers(&problem), [format!("/1/{field}")]);
    }
    // Two activities of one call must not contradict each other.
    let mut twin = purchase("twin", &user.id);
    twin["amount"] = json!(1);
    let batch = json!([purchase("twin", &user.id), twin]);
    let problem = report(&app, &operator, &batch)
        .await
        .expect_problem(409, "activity-conflict");
    assert_eq!(pointers(&problem), ["/1/amount"]);
    assert_eq!(reported(&app, &user).await.len(), 1);
}

#[apply(on_both_engines)]
async fn every_invalid_field_is_reported(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let user = app.user(Role::User).await;
    let many: BTreeMap<String, u32> = (0..65).map(|index| (index.to_string(), 1)).collect();
    for (field, value) in [
        ("source", json!("")),
        ("source", json!("the shop")),
        ("source", json!("s".repeat(257))),
        ("source", json!("상점")),
        ("source", json!("meed")),
        ("source", json!(1)),
        ("id", json!("")),
        ("id", json!("i".repeat(129))),
        ("id", json!("a\u{0}b")),
        ("userId", json!("someone")),
        ("userId", json!(UNKNOWN)),
        ("kind", json!("shop purchase")),
        ("kind", json!("로그인")),
        ("kind", json!("auth.login")),
        ("kind", json!("user.registered")),
        ("kind", json!("invite.accepted")),
        ("occurredAt", json!("yesterday")),
        ("occurredAt", json!("2026-02-28")),
        ("occurredAt", json!("1969-12-31T23:59:59.999Z")),
        ("occurredAt", json!("2026-03-01T12:05:00.001Z")),
        ("amount", json!(1_000_000_000_001_i64)),
        ("amount", json!(-1_000_000_000_001_i64)),
        ("amount", json!(1.5)),
        ("attributes", json!([])),
        ("attributes", json!({"a": {"b": 1}})),
        ("attributes", json!({"": 1})),
        ("attributes", json!({"지역": 1})),
        ("attributes", json!({"a b": 1})),
        ("attributes", json!({"weight": 1e300})),
        ("attributes", json!({"a": "\u{0}"})),
        ("attributes", json!({"a": "v".repeat(257)})),
        ("attributes", json!(many)),
        ("colour", json!("red")),
    ] {
        let faulty = with(field, value, &user.id);
        for (body, place) in [
            (faulty.clone(), "/"),
            (json!([purchase("fine", &user.id), faulty]), "/1/"),
        ] {
            let problem = report(&app, &operator, &body).await.expect_problem(422, "invalid-body");
            let pointer = pointers(&problem)[0];
            assert!(
                pointer.starts_with(&format!("{place}{field}")),
                "{pointer} for {body:#}"
            );
        }
    }
    for field in ["source", "id", "userId", "kind"] {
        let faulty = with(field, Value::Null, &user.id);
        let problem = report(&app, &operator, &faulty)
            .await
            .expect_problem(422, "invalid-body");
        assert!(
            problem["detail"].as_str().expect("a detail").contains(field),
            "{problem:#}"
        );
    }
    assert!(reported(&app, &user).await.is_empty(), "all or nothing");
}

#[apply(on_both_engines)]
async fn values_at_the_limits_are_accepted(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let user = app.user(Role::User).await;
    let all: BTreeMap<String, String> = (0..64)
        .map(|index| (format!("{index:064}"), "값".repeat(256)))
        .collect();
    for (index, (field, value)) in [
        ("source", json!("A-z_0.9")),
        ("source", json!("s".repeat(64))),
        ("kind", json!("k".repeat(64))),
        ("kind", json!("authentic")),
        ("occurredAt", json!("1970-01-01T00:00:00Z")),
        ("occurredAt", json!("2026-03-01T12:05:00Z")),
        ("occurredAt", json!("2026-03-01T21:00:00+09:00")),
        ("amount", json!(1_000_000_000_000_i64)),
        ("amount", json!(-1_000_000_000_000_i64)),
        ("amount", json!(0)),
        ("attributes", json!(all)),
    ]
    .into_iter()
    .enumerate()
    {
        let mut edge = with(field, value, &user.id);
        edge["id"] = json!(format!("{index:0>128}"));
        report(&app, &operator, &edge).await.expect(201);
    }
    assert_eq!(reported(&app, &user).await.len(), 11);
}

fn text_of(problem: &Value) -> &str {
    problem["detail"].as_str().expect("a detail")
}

#[apply(on_both_engines)]
async fn ndjson_lines_are_a_batch(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let user = app.user(Role::User).await;
    let send = async |body: String| {
        app.post("/activities")
            .bearer(&operator)
            .bytes("application/x-ndjson; charset=utf-8", body)
            .send()
            .await
    };
    let [a, b, c] = ["a", "b", "c"].map(|id| purchase(id, &user.id));
    let reply = send(format!("{a}\r\n\n{b}\n  \n{c}")).await.expect(201);
    assert_eq!(reply["recorded"], 3);
    // Blank lines do not count: the invalid activity is the second.
    let problem = send(format!("{a}\n\n{}\n", with("amount", json!(0.5), &user.id)))
        .await
        .expect_problem(422, "invalid-body");
    assert_eq!(pointers(&problem), ["/1/amount"]);
    // A wrong type hides no other fault.
    let [float, text] = [json!(0.5), json!("a lot")].map(|amount| with("amount", amount, &user.id));
    let problem = send(format!("{float}\n{a}\n{text}\n"))
        .await
        .expect_problem(422, "invalid-body");
    assert_eq!(pointers(&problem), ["/0/amount", "/2/amount"]);
    let problem = send(vec![float.to_string(); 30].join("\n"))
        .await
        .expect_problem(422, "invalid-body");
    assert_eq!(pointers(&problem).len(), 20);
    assert!(text_of(&problem).starts_with("30 fields are invalid"), "{problem:#}");
    // A byte-order mark, as some systems write it, is no part of the first line.
    assert_eq!(send(format!("\u{feff}{a}\n")).await.expect(200)["duplicates"], 1);
    let problem = send(format!("{a}\n{b}\n{{\"a\": nul}}"))
        .await
        .expect_problem(400, "malformed-json");
    assert_eq!(
        text_of(&problem),
        "Line 3 is not valid JSON: expected ident at column 10."
    );
    for (body, says) in [
        (format!("{a}\n{{\"source\": \n"), "Line 2"),
        (format!("{a}, {b}\n"), "Line 1"),
        (format!("{a}\nnull null\n"), "Line 2"),
    ] {
        let problem = send(body).await.expect_problem(400, "malformed-json");
        assert!(
            problem["detail"].as_str().expect("a detail").starts_with(says),
            "{problem:#}"
        );
    }
    send("\n \n".to_owned()).await.expect_problem(422, "invalid-body");
    send("[]\n".to_owned()).await.expect_problem(422, "invalid-body");
}

#[apply(on_both_engines)]
async fn the_size_of_a_call_is_limited(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let user = app.user(Role::User).await;
    let batch = |count: usize| {
        (0..count).map(|index| json!({
        "source": "game", "id": index.to_string(), "userId": user.id, "kind": "match.won", "occurredAt": START,
    })).collect::<Value>()
    };
    report(&app, &operator, &json!([]))
        .await
        .expect_problem(422, "invalid-body");
    report(&app, &operator, &batch(1001))
        .await
        .expect_problem(422, "invalid-body");
    let recorded = report(&app, &operator, &batch(1000)).await.expect(201);
    assert_eq!(
        (&recorded["recorded"], recorded["items"].as_array().map(Vec::len)),
        (&json!(1000), Some(1000))
    );
    assert_eq!(
        report(&app, &operator, &batch(1000)).await.expect(200)["duplicates"],
        1000
    );
    // The response lists at most 20 of the thousand errors.
    let faulty = (0..1000).map(|_| with("amount", json!(i64::MAX), &user.id)).collect();
    let problem = report(&app, &operator, &faulty)
        .await
        .expect_problem(422, "invalid-body");
    assert_eq!(pointers(&problem).len(), 20);

    let big = vec![b' '; (1 << 20) + 1];
    app.post("/activities")
        .bearer(&operator)
        .bytes("application/json", big)
        .send()
        .await
        .expect_problem(413, "body-too-large");
    for content_type in ["text/csv", "application/jsonlines", ""] {
        app.post("/activities")
            .bearer(&operator)
            .bytes(content_type, "{}")
            .send()
            .await
            .expect_problem(415, "unsupported-media-type");
    }
    for body in ["", "{", "[{}", "{} {}"] {
        let reply = app
            .post("/activities")
            .bearer(&operator)
            .bytes("application/json", body)
            .send()
            .await;
        assert!(matches!(reply.status.as_u16(), 400 | 422), "{body:?}: {:#}", reply.json);
    }
}

#[apply(on_both_engines)]
async fn pages_go_back_in_time_and_miss_nothing(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let user = app.user(Role::User).await;
    let batch: Value = (0..7)
        .map(|index| {
            let mut one = purchase(&format!("p{index}"), &user.id);
            // Three timestamps, so that pages end among activities with the same timestamp.
            one["occurredAt"] = json!(format!("2026-02-2{}T00:00:00Z", 1 + index / 3));
            one
        })
        .collect();
    report(&app, &operator, &batch).await.expect(201);
    let to = "&to=2026-02-28T00:00:00Z";
    let mut seen: Vec<String> = Vec::new();
    let mut token = String::new();
    loop {
        let page = history(&app, &user, &format!("?pageSize=2{to}{token}")).await;
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["nextPageToken"].as_str() else {
            break;
        };
        token = format!("&pageToken={next}");
    }
    seen.sort();
    assert_eq!(seen, ["p0", "p1", "p2", "p3", "p4", "p5", "p6"]);
    let whole = history(&app, &user, &format!("?pageSize=200{to}")).await;
    assert_eq!(ids(&whole)[0], "p6");
    let path = format!("/users/{}/activities?pageToken=nonsense", user.id);
    app.get(&path)
        .bearer(&user.token)
        .send()
        .await
        .expect_problem(400, "invalid-parameter");
}

#[apply(on_both_engines)]
async fn history_is_filtered(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let user = app.user(Role::User).await;
    let other = app.user(Role::User).await;
    let at = |id: &str, kind: &str, instant: &str| {
        json!({
            "source": "game", "id": id, "userId": user.id, "kind": kind, "occurredAt": instant,
        })
    };
    report(
        &app,
        &operator,
        &json!([
            at("a", "match.won", "2026-02-01T00:00:00Z"),
            at("b", "match.lost", "2026-02-02T00:00:00Z"),
            at("c", "match.won", "2026-02-03T00:00:00Z"),
            purchase("not mine", &other.id),
        ]),
    )
    .await
    .expect(201);
    for (query, expected) in [
        ("?to=2026-02-28T00:00:00Z", vec!["c", "b", "a"]),
        ("?kind=match.won", vec!["c", "a"]),
        ("?kind=never", vec![]),
        ("?from=2026-02-02T00:00:00Z&to=2026-02-03T00:00:00Z", vec!["b"]),
        ("?from=2026-02-02T00:00:00Z&kind=match.won", vec!["c"]),
        ("?from=2026-02-03T00:00:00Z&to=2026-02-01T00:00:00Z", vec![]),
    ] {
        assert_eq!(ids(&history(&app, &user, query).await), expected, "{query}");
    }
    let path = format!("/users/{}/activities?from=yesterday", user.id);
    app.get(&path)
        .bearer(&user.token)
        .send()
        .await
        .expect_problem(400, "invalid-parameter");
}

#[apply(on_both_engines)]
async fn the_server_records_its_own_activities_once(app: TestApp) {
    let user = app.user(Role::User).await;
    let own = |source_id: &str, occurred_at: &str| OwnActivity {
        user_id: user.id.parse().expect("an id"),
        kind: "auth.login",
        source_id: source_id.to_owned(),
        occurred_at: occurred_at.parse().expect("an instant"),
        attributes: BTreeMap::from([("client".to_owned(), "web \"1\"".to_owned())]),
    };
    let mut tx = app.begin().await;
    for (id, at) in [
        ("login-1", START),
        ("login-1", "2026-03-01T12:00:01Z"),
        ("login-2", "2026-02-01T00:00:00Z"),
    ] {
        app.app
            .activities
            .record_own(&mut tx, own(id, at))
            .await
            .expect("recorded");
    }
    tx.commit().await.expect("commit");
    let mut tx = app.begin().await;
    app.app
        .activities
        .record_own(&mut tx, own("undone", START))
        .await
        .expect("recorded");
    drop(tx);
    let page = history(&app, &user, "?kind=auth.login").await;
    let items = page["items"].as_array().expect("items");
    let mine: Vec<&Value> = items
        .iter()
        .filter(|item| item["attributes"]["client"] == "web \"1\"")
        .collect();
    let seen: Vec<_> = mine
        .iter()
        .map(|item| {
            (
                item["source"].as_str(),
                item["id"].as_str(),
                item["occurredAt"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Some("meed"), Some("login-1"), Some("2026-03-01T12:00:00.000Z")),
            (Some("meed"), Some("login-2"), Some("2026-02-01T00:00:00.000Z")),
        ]
    );
}

#[apply(on_both_engines)]
async fn concurrent_calls_record_each_activity_once(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let user = app.user(Role::User).await;
    let batch = |shift: usize| {
        (0..50)
            .map(|index| purchase(&format!("{:03}", (index * 7 + shift) % 50), &user.id))
            .collect::<Value>()
    };
    let batches: Vec<Value> = (0..8).map(batch).collect();
    let calls = batches
        .iter()
        .map(|batch| app.post("/activities").bearer(&operator).json(batch).send());
    let mut recorded = 0;
    let mut tasks = tokio::task::JoinSet::new();
    for call in calls.collect::<Vec<_>>() {
        tasks.spawn(call);
    }
    while let Some(reply) = tasks.join_next().await {
        let reply = reply.expect("a reply");
        assert!(matches!(reply.status.as_u16(), 200 | 201), "{:#}", reply.json);
        recorded += reply.json["recorded"].as_u64().expect("a count");
    }
    assert_eq!(recorded, 50);
    assert_eq!(reported(&app, &user).await.len(), 50);
}

/// A USER without an e-mail, and its id.
async fn external(app: &TestApp, external: &str) -> String {
    let admin = app.token(Role::Admin).await;
    let user = app.put(&format!("/users/external/{external}")).bearer(&admin);
    let user = user.send().await;
    user.json["id"].as_str().expect("an id").to_owned()
}

/// The purchase of the user with this external id.
fn bought_by(id: &str, external: &str) -> Value {
    json!({"source": "shop", "id": id, "externalUserId": external, "kind": "shop.purchase"})
}

const EXTERNAL_USERS: &str = "SELECT COUNT(*) FROM users WHERE external_id IS NOT NULL";

#[apply(on_both_engines)]
async fn activities_name_their_users_by_id_or_external_id(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let (ada, ben) = (external(&app, "ada").await, external(&app, "ben").await);
    let by_id = purchase("2", &ben);
    let mixed = json!([
        bought_by("1", "ada"),
        by_id,
        bought_by("3", "ben"),
        bought_by("4", "ada")
    ]);
    assert_eq!(report(&app, &operator, &mixed).await.expect(201)["recorded"], 4);
    assert_eq!(report(&app, &operator, &mixed).await.expect(200)["duplicates"], 4);
    for (user, expected) in [(&ada, ["4", "1"]), (&ben, ["3", "2"])] {
        let path = format!("/users/{user}/activities");
        let page = app.get(&path).bearer(&operator).send().await.expect(200);
        let mut found = ids(&page);
        found.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(found, expected);
    }
    // The same activity of another user is a conflict, however the user is named.
    let other = report(&app, &operator, &bought_by("1", "ben")).await;
    let problem = other.expect_problem(409, "activity-conflict");
    assert_eq!(pointers(&problem), ["/externalUserId"]);
    let same = json!({"source": "shop", "id": "1", "userId": ada, "kind": "shop.purchase"});
    assert_eq!(report(&app, &operator, &same).await.expect(200)["duplicates"], 1);
}

#[apply(on_both_engines)]
async fn an_activity_names_exactly_one_known_user(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let ada = external(&app, "ada").await;
    let mut both = purchase("1", &ada);
    both["externalUserId"] = json!("ada");
    let neither = json!({"source": "shop", "id": "2", "kind": "shop.purchase"});
    for (body, pointer) in [
        (both.clone(), "/externalUserId"),
        (neither.clone(), "/userId"),
        (bought_by("3", ""), "/externalUserId"),
        (bought_by("4", "nobody"), "/externalUserId"),
        (purchase("5", UNKNOWN), "/userId"),
    ] {
        let problem = report(&app, &operator, &body).await.expect_problem(422, "invalid-body");
        assert_eq!(pointers(&problem), [pointer], "{body}");
    }
    let batch = json!([both, bought_by("6", "ada"), neither]);
    let problem = report(&app, &operator, &batch)
        .await
        .expect_problem(422, "invalid-body");
    assert_eq!(pointers(&problem), ["/0/externalUserId", "/2/userId"]);
    let batch = json!([bought_by("6", "ada"), bought_by("7", "nobody"), purchase("8", UNKNOWN)]);
    let problem = report(&app, &operator, &batch)
        .await
        .expect_problem(422, "invalid-body");
    assert_eq!(pointers(&problem), ["/1/externalUserId", "/2/userId"]);
    assert_eq!(
        problem["errors"][0]["message"],
        "there is no user with the external id \"nobody\""
    );
    assert_eq!(
        app.count("SELECT COUNT(*) FROM activities WHERE source = 'shop'").await,
        0
    );
}

#[apply(on_both_engines)]
async fn a_setting_lets_activities_create_unknown_users(app: TestApp) {
    let operator = app.token(Role::Operator).await;
    let creating = app.replica(&[("activities.create_unknown_users", "true")]);
    let batch = json!([bought_by("1", "ada"), bought_by("2", "ben"), bought_by("3", "ada")]);
    // A refused batch creates no user.
    let mut refused = batch.clone();
    refused[1]["occurredAt"] = json!("2026-03-01T13:00:00Z");
    report(&creating, &operator, &refused).await.expect(422);
    let mut unknown = batch.clone();
    unknown[1] = purchase("2", UNKNOWN);
    report(&creating, &operator, &unknown).await.expect(422);
    assert_eq!(app.count(EXTERNAL_USERS).await, 0);

    let calls = (0..4).map(|_| report(&creating, &operator, &batch));
    for reply in futures_util::future::join_all(calls).await {
        assert!(reply.status.is_success(), "{:#}", reply.json);
    }
    assert_eq!(app.count(EXTERNAL_USERS).await, 2);
    // Then every process knows them.
    report(&app, &operator, &bought_by("4", "ada")).await.expect(201);
    let path = "/users/external:ada/activities";
    let page = app.get(path).bearer(&operator).send().await.expect(200);
    assert_eq!(page["items"].as_array().expect("items").len(), 3);
}
