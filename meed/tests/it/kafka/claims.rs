//! Claims from a topic: they are pending claims, decided once and in order, and invalid messages go to the dead-letter
//! topic with the reason.

use std::time::Duration;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{CLAIMS, DEAD, GROUP, Running, committed, until, until_at_least};
use crate::support::{Broker, TestApp, on_both_engines, text};

const DAY: Duration = Duration::from_hours(24);
const DECIDED: &str = "SELECT COUNT(*) FROM reward_requests";
const GRANTED: &str = "SELECT COUNT(*) FROM reward_requests WHERE status = 'GRANTED'";
const TOLD: &str = "SELECT COUNT(*) FROM outbox WHERE kind = 'reward.granted' AND http_request_id = 'ann:1'";
const WAITING: &str = "SELECT COUNT(*) FROM pending_claims";

fn claim(id: &str, user: &str, event: &Value) -> Value {
    json!({"id": id, "userId": user, "eventId": event["id"]})
}

/// Produces messages as a shop does, keyed by event.
async fn produce(broker: &Broker, values: &[Value]) {
    let messages = values
        .iter()
        .map(|value| (value["eventId"].to_string(), value.to_string().into_bytes()));
    broker.produce(CLAIMS, messages).await;
}

async fn broker() -> Broker {
    let broker = Broker::start().await;
    broker.topic(CLAIMS).await;
    broker.topic(DEAD).await;
    broker
}

/// The requests of a user, newest first.
async fn requests(app: &TestApp, user: &str) -> Vec<Value> {
    let list = app.read(&format!("/reward-requests?userId={user}")).await;
    list["items"].as_array().expect("a list").clone()
}

#[apply(on_both_engines)]
async fn claims_are_decided_once_and_invalid_messages_are_dead_lettered(app: TestApp) {
    let broker = broker().await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let other = app.event("first-come", json!({}), json!({})).await;
    let streak = app.event("login-streak", json!({"days": 7}), json!({})).await;
    let [ann, ben] = [app.user(Role::User).await.id, app.user(Role::User).await.id];
    let nobody = "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";
    let messages = [
        claim("ann:1", &ann, &event),
        // The same message again, and once with another id.
        claim("ann:1", &ann, &event),
        claim("ann:2", &ann, &event),
        // Ids of different users are independent.
        claim("ann:1", &ben, &event),
        claim("ben:2", &ben, &streak),
        claim("nobody", nobody, &event),
        json!({"id": "nothing", "userId": ann, "eventId": nobody}),
        json!({"id": "two words", "userId": ann, "eventId": event["id"]}),
        json!({"userId": ann, "eventId": event["id"], "more": 1}),
    ];
    produce(&broker, &messages).await;
    broker
        .produce(
            CLAIMS,
            [("a".to_owned(), b"{\"id\": ".to_vec()), ("a".to_owned(), Vec::new())],
        )
        .await;
    let reader = Running::claims(&app, &broker);
    let worker = Running::worker(&app);
    committed(&broker, CLAIMS, 11).await;
    until(&app, DECIDED, 3).await;
    // By now the id belongs to a known claim.
    produce(&broker, &[claim("ann:1", &ann, &other)]).await;
    let dead = broker.read(DEAD, 7).await;
    let why = |what: &str| {
        let found = dead
            .iter()
            .find(|letter| String::from_utf8_lossy(&letter.value).contains(what));
        let letter = found.unwrap_or_else(|| panic!("{what} is not among {dead:?}"));
        assert_eq!(letter.header("meed-topic"), CLAIMS);
        (
            letter.header("meed-code").to_owned(),
            letter.header("meed-detail").to_owned(),
        )
    };
    for (what, code, says) in [
        (
            "\"nobody\"",
            "invalid-body",
            format!("/userId: there is no user {nobody}"),
        ),
        ("\"nothing\"", "no-such-event", format!("There is no event {nobody}")),
        ("two words", "invalid-body", "/id: use 1 to 255 visible".to_owned()),
        ("\"more\"", "invalid-body", "more".to_owned()),
        ("{\"id\": ", "malformed-json", "not valid JSON".to_owned()),
        (
            text(&other, "id"),
            "idempotency-key-reused",
            "\"ann:1\" was used for another claim".to_owned(),
        ),
    ] {
        let (is, detail) = why(what);
        assert!(is == code && detail.contains(&says), "{what}: {is} {detail}");
    }

    // All messages again, as for a new consumer group.
    produce(&broker, &messages).await;
    committed(&broker, CLAIMS, 21).await;
    reader.stop().await;
    worker.stop().await;
    assert_eq!(
        (
            app.count(DECIDED).await,
            app.count(GRANTED).await,
            app.count(WAITING).await
        ),
        (3, 2, 0)
    );
    assert_eq!(requests(&app, &ann).await[0]["status"], "GRANTED");
    let of_ben = requests(&app, &ben).await;
    let rejected = of_ben.iter().find(|request| request["eventId"] == streak["id"]);
    assert_eq!(rejected.expect("a request")["status"], "REJECTED");
    assert_eq!(app.count(TOLD).await, 2, "a message about a grant identifies its claim");
}

#[apply(on_both_engines)]
async fn a_claim_has_the_time_of_its_message(app: TestApp) {
    let broker = broker().await;
    let [ann, ben, cal, dan] = [(); 4].map(|()| app.user(Role::User));
    let [ann, ben, cal, dan] = [ann.await.id, ben.await.id, cal.await.id, dan.await.id];
    let ends = json!({"startDate": "2026-03-01T00:00:00Z", "endDate": "2026-03-10T12:00:00Z"});
    let event = app.event("first-come", json!({}), ends).await;
    let messages = [
        ("2026-03-10T11:59:59.999Z", "in-time", &ann),
        ("2026-03-10T12:00:00Z", "late", &ben),
        ("2026-03-07T13:00:00Z", "old", &cal),
        ("2027-01-01T00:00:00Z", "ahead", &dan),
    ];
    broker
        .produce_at(
            CLAIMS,
            messages.map(|(at, id, user)| {
                (
                    at.parse().expect("an instant"),
                    String::new(),
                    claim(id, user, &event).to_string().into_bytes(),
                )
            }),
        )
        .await;
    // The server was down meanwhile.
    let now = app.at("2026-03-10T13:00:00Z");
    let reader = Running::claims(&app, &broker);
    let worker = Running::worker(&app);
    until(&app, DECIDED, 3).await;
    committed(&broker, CLAIMS, 4).await;
    let granted = requests(&app, &ann).await;
    assert_eq!(
        (text(&granted[0], "status"), text(&granted[0], "receivedAt")),
        ("GRANTED", "2026-03-10T11:59:59.999Z")
    );
    let late = requests(&app, &ben).await;
    assert_eq!(late[0]["reasons"][0]["code"], "event-ended");
    assert!(requests(&app, &cal).await.is_empty());
    let dead = broker.read(DEAD, 1).await;
    assert_eq!(dead[0].header("meed-code"), "claim-too-old");
    assert!(
        dead[0].header("meed-detail").contains("2026-03-07T13:00:00.000Z"),
        "{:?}",
        dead[0]
    );
    let ahead = requests(&app, &dan).await;
    assert_eq!(text(&ahead[0], "receivedAt"), now.to_string());
    reader.stop().await;
    worker.stop().await;
}

#[apply(on_both_engines)]
async fn claims_of_a_topic_are_decided_in_order(app: TestApp) {
    let app = app.in_real_time();
    let broker = broker().await;
    let stock = app.reward(json!({"type": "ITEM", "stock": 10})).await;
    let now = app.clock.now();
    let changes = json!({"rewardIds": [stock["id"]], "startDate": now.minus(DAY), "endDate": now.plus(DAY)});
    let event = app.event("first-come", json!({}), changes).await;
    let crowd = app.crowd(80).await;
    // All at the same instant.
    let claims: Vec<_> = crowd
        .iter()
        .rev()
        .map(|user| {
            let value = claim(&user.id, &user.id, &event).to_string().into_bytes();
            (now, "one partition".to_owned(), value)
        })
        .collect();
    let reader = Running::claims(&app, &broker);
    for some in claims.chunks(30) {
        // Some of them twice.
        broker.produce_at(CLAIMS, [some, &some[..10]].concat()).await;
    }
    committed(&broker, CLAIMS, 110).await;
    let worker = Running::worker(&app);
    until(&app, DECIDED, 80).await;
    for (place, user) in crowd.iter().rev().enumerate() {
        let status = if place < 10 { "GRANTED" } else { "REJECTED" };
        let request = requests(&app, &user.id).await;
        assert_eq!(request[0]["status"], status, "{place}");
    }
    reader.stop().await;
    worker.stop().await;
}

#[apply(on_both_engines)]
async fn at_the_limit_of_pending_claims_messages_stay_in_the_topic(app: TestApp) {
    let app = app.replica(&[("claims.max_pending", "5"), ("claims.max_pending_per_user", "1")]);
    let broker = broker().await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let other = app.event("first-come", json!({}), json!({})).await;
    let crowd = app.crowd(20).await;
    let claims: Vec<Value> = crowd.iter().map(|user| claim("one", &user.id, &event)).collect();
    let reader = Running::claims(&app, &broker);
    produce(&broker, &claims[..1]).await;
    until(&app, WAITING, 1).await;
    // The limit per user does not apply here, because it would block all later messages; over HTTP it applies.
    produce(&broker, &[claim("two", &crowd[0].id, &other)]).await;
    until(&app, WAITING, 2).await;
    let third = app.event("first-come", json!({}), json!({})).await;
    let refused = app
        .claim(&crowd[0].token, &third)
        .header("prefer", "respond-async")
        .send()
        .await;
    refused.expect_problem(429, "too-many-pending-claims");
    let worker = Running::worker(&app);
    until(&app, DECIDED, 2).await;
    worker.stop().await;

    produce(&broker, &claims[1..10]).await;
    // They arrive in one batch or in several. A batch is queued while fewer than five claims are pending.
    let queued = until_at_least(&app, WAITING, 5).await;
    // The count is cached for one second.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    produce(&broker, &claims[10..]).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(
        (broker.committed(GROUP, CLAIMS), app.count(WAITING).await),
        (2 + queued, queued)
    );
    let worker = Running::worker(&app);
    until(&app, GRANTED, 21).await;
    committed(&broker, CLAIMS, 21).await;
    assert!(broker.read_for(DEAD, 1).await.is_empty());
    reader.stop().await;
    worker.stop().await;
}

#[apply(on_both_engines)]
async fn a_claim_names_its_user_by_the_external_id(app: TestApp) {
    let broker = broker().await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let admin = app.token(Role::Admin).await;
    let known = app.put("/users/external/customer-1").bearer(&admin);
    let user = known.send().await.expect(201);
    let external = |id: &str, external: &str| json!({"id": id, "externalUserId": external, "eventId": event["id"]});
    let neither = json!({"id": "3", "eventId": event["id"]});
    produce(
        &broker,
        &[external("1", "customer-1"), external("2", "customer-2"), neither],
    )
    .await;
    let reader = Running::claims(&app, &broker);
    let worker = Running::worker(&app);
    until(&app, GRANTED, 1).await;
    committed(&broker, CLAIMS, 3).await;
    reader.stop().await;
    worker.stop().await;
    assert_eq!(requests(&app, text(&user, "id")).await.len(), 1);
    let dead = broker.read(DEAD, 2).await;
    for (letter, says) in dead.iter().zip([
        "/externalUserId: there is no user with the external id \"customer-2\"",
        "/userId: is required, unless the user is named by externalUserId",
    ]) {
        let detail = letter.header("meed-detail");
        assert!(
            letter.header("meed-code") == "invalid-body" && detail.contains(says),
            "{detail}"
        );
    }
}
