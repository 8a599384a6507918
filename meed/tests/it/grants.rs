//! `/grants`: grants and their fulfilment.

use std::time::Duration;

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Receiver, Reply, TestApp, assert_fault, on_both_engines, text, with};
use crate::webhook_endpoints::{create, endpoint, grant, path, relayed};

const UNKNOWN: &str = "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77";

fn grant_path(granted: &Value) -> String {
    format!("/grants/{}", text(&granted["grants"][0], "id"))
}

async fn acknowledge(app: &TestApp, granted: &Value, body: Value) -> Reply {
    let token = app.operator().await;
    let path = format!("{}/acknowledgement", grant_path(granted));
    app.post(&path).bearer(&token).json(&body).send().await
}

/// Waits until the grant is in this state.
async fn until(app: &TestApp, granted: &Value, state: &str) -> Value {
    for _ in 0..400 {
        let grant = app.read(&grant_path(granted)).await;
        if grant["fulfilment"]["state"] == state {
            return grant;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never {state}: {:#}", app.read(&grant_path(granted)).await);
}

/// Waits until the endpoint's newest delivery is in this status.
async fn until_delivery(app: &TestApp, endpoint: &Value, status: &str) {
    let url = format!("{}/deliveries", path(endpoint));
    for _ in 0..400 {
        if app.read(&url).await["items"][0]["status"] == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never {status}: {:#}", app.read(&url).await);
}

/// Advances the clock until all attempts have failed and the delivery is parked.
async fn until_parked(app: &TestApp, endpoint: &Value) {
    let url = format!("{}/deliveries", path(endpoint));
    for _ in 0..400 {
        if app.read(&url).await["items"][0]["status"] == "PARKED" {
            return;
        }
        app.clock.set(app.clock.now().plus(Duration::from_secs(1)));
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never parked: {:#}", app.read(&url).await);
}

#[apply(on_both_engines)]
async fn a_grant_is_pending_until_its_receiver_accepts_it(app: TestApp) {
    let (app, _relaying) = relayed(&app);
    let event = app.event("first-come", json!({}), json!({})).await;
    let (user, granted) = grant(&app, &event).await;
    assert_eq!(granted["grants"][0]["fulfilment"], json!({"state": "PENDING"}));
    // A claim writes nothing for it.
    assert_eq!(app.count("SELECT COUNT(*) FROM fulfilments").await, 0);
    let request = format!("/reward-requests/{}", text(&granted, "id"));
    assert_eq!(app.get(&request).bearer(&user.token).send().await.expect(200), granted);

    app.at("2026-03-01T12:00:01Z");
    let receiver = Receiver::start().await;
    let shop = endpoint(&app, &receiver, &["reward.granted"]).await;
    assert_eq!(shop["acknowledges"], true);
    app.at("2026-03-01T12:00:02Z");
    let (user, granted) = grant(&app, &event).await;
    app.at("2026-03-01T12:00:03Z");
    let grant = until(&app, &granted, "DELIVERED").await;
    let changed_at = &grant["fulfilment"]["changedAt"];
    assert!(
        ["2026-03-01T12:00:02.000Z", "2026-03-01T12:00:03.000Z"].contains(&changed_at.as_str().expect("an instant")),
        "{grant:#}"
    );
    let given = &granted["grants"][0];
    assert_eq!(
        grant,
        json!({
            "id": given["id"], "requestId": granted["id"], "requestStatus": "GRANTED", "eventId": event["id"],
            "userId": user.id, "rewardId": given["rewardId"], "quantity": 1, "reward": given["reward"],
            "grantedAt": granted["decidedAt"], "fulfilment": {"state": "DELIVERED", "changedAt": changed_at},
            "reportedBy": {"userId": null, "webhookEndpointId": shop["id"], "error": null},
        })
    );
    // The user sees the state, but not who reported it.
    let seen = app
        .get(&grant_path(&granted))
        .bearer(&user.token)
        .send()
        .await
        .expect(200);
    assert_eq!(
        (&seen["fulfilment"], seen.get("reportedBy")),
        (&grant["fulfilment"], None)
    );
    let request = app
        .get(&format!("/reward-requests/{}", text(&granted, "id")))
        .bearer(&user.token)
        .send()
        .await
        .expect(200);
    assert_eq!(request["grants"][0]["fulfilment"], grant["fulfilment"]);
    let mine = app
        .get("/reward-requests/mine")
        .bearer(&user.token)
        .send()
        .await
        .expect(200);
    assert_eq!(mine["items"], json!([request]));
    let other = app.user(Role::User).await;
    app.get(&grant_path(&granted))
        .bearer(&other.token)
        .send()
        .await
        .expect_problem(404, "no-such-grant");
}

#[apply(on_both_engines)]
async fn a_grant_with_a_parked_delivery_is_failed_until_a_redrive_succeeds(app: TestApp) {
    let (app, _relaying) = relayed(&app);
    let receiver =
        Receiver::answering(|_, before| (if before < 4 { 503 } else { 200 }, String::new(), Duration::ZERO)).await;
    let shop = endpoint(&app, &receiver, &["reward.granted"]).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let (user, granted) = grant(&app, &event).await;
    until_parked(&app, &shop).await;
    let grant = until(&app, &granted, "FAILED").await;
    assert_eq!(
        grant["reportedBy"],
        json!({
            "userId": null, "webhookEndpointId": shop["id"], "error": "answered 503 Service Unavailable",
        })
    );
    let seen = app
        .get(&grant_path(&granted))
        .bearer(&user.token)
        .send()
        .await
        .expect(200);
    assert_eq!(seen["fulfilment"]["state"], "FAILED");
    assert!(!seen.to_string().contains("Unavailable"), "{seen:#}");
    let failed = app.read("/grants?fulfilment=FAILED").await;
    assert_eq!(failed["items"], json!([grant]));

    let operator = app.operator().await;
    app.post(&format!("{}/redrive", path(&shop)))
        .bearer(&operator)
        .send()
        .await
        .expect(200);
    let grant = until(&app, &granted, "DELIVERED").await;
    assert_eq!(
        (&grant["reportedBy"]["error"], &grant["reportedBy"]["webhookEndpointId"]),
        (&Value::Null, &shop["id"])
    );
    assert_eq!(app.read("/grants?fulfilment=FAILED").await["items"], json!([]));
}

#[apply(on_both_engines)]
async fn one_acknowledging_receiver_is_enough_and_listeners_do_not_count(app: TestApp) {
    let (app, _relaying) = relayed(&app);
    let event = app.event("first-come", json!({}), json!({})).await;
    app.at("2026-03-01T12:00:01Z");
    let listener = Receiver::start().await;
    let body = json!({"url": listener.url, "types": ["reward.granted"], "acknowledges": false});
    let listening = create(&app, &body).await.expect(201);
    assert_eq!(listening["acknowledges"], false);
    app.at("2026-03-01T12:00:02Z");
    let (_, unseen) = grant(&app, &event).await;
    until_delivery(&app, &listening, "DELIVERED").await;
    assert_eq!(app.count("SELECT COUNT(*) FROM fulfilments").await, 0);
    assert_eq!(
        app.read(&grant_path(&unseen)).await["fulfilment"],
        json!({"state": "PENDING"})
    );

    let (good, bad) = (
        Receiver::start().await,
        Receiver::answering(|_, _| (500, String::new(), Duration::ZERO)).await,
    );
    endpoint(&app, &good, &["reward.granted"]).await;
    let broken = endpoint(&app, &bad, &["reward.granted"]).await;
    app.at("2026-03-01T12:00:03Z");
    let (_, granted) = grant(&app, &event).await;
    until(&app, &granted, "DELIVERED").await;
    until_parked(&app, &broken).await;
    assert_eq!(
        app.read(&grant_path(&granted)).await["fulfilment"]["state"],
        "DELIVERED"
    );
    // The setting of an endpoint can change.
    let operator = app.operator().await;
    let etag = format!("\"{}\"", listening["revision"]);
    let changed = app.put(&path(&listening)).bearer(&operator).header("if-match", &etag);
    let changed = changed
        .json(&json!({"url": listener.url, "types": ["reward.granted"]}))
        .send()
        .await
        .expect(200);
    assert_eq!(changed["acknowledges"], true);
}

#[apply(on_both_engines)]
async fn an_acknowledgement_overrides_a_delivery_and_can_be_repeated(app: TestApp) {
    let (app, relaying) = relayed(&app);
    let receiver = Receiver::start().await;
    let event = app.event("first-come", json!({}), json!({})).await;
    app.at("2026-03-01T12:00:01Z");
    let shop = endpoint(&app, &receiver, &["reward.granted"]).await;
    relaying.stop().await;
    app.at("2026-03-01T12:00:02Z");
    let (_, granted) = grant(&app, &event).await;
    let failed = json!({"state": "FAILED", "reason": "The parcel came back", "reference": "shipment 4711"});
    let grant = acknowledge(&app, &granted, failed.clone()).await.expect(200);
    let said = with(failed.clone(), json!({"changedAt": "2026-03-01T12:00:02.000Z"}));
    assert_eq!(grant["fulfilment"], said);
    let operator = app
        .get("/users/me")
        .bearer(&app.operator().await)
        .send()
        .await
        .expect(200);
    assert_eq!(
        grant["reportedBy"],
        json!({"userId": operator["id"], "webhookEndpointId": null, "error": null})
    );
    assert_eq!(app.read(&grant_path(&granted)).await, grant);
    // Repeating the same acknowledgement changes nothing, regardless of the operator.
    app.at("2026-03-01T12:00:03Z");
    let admin = app.token(Role::Admin).await;
    let again = app
        .post(&format!("{}/acknowledgement", grant_path(&granted)))
        .bearer(&admin)
        .json(&failed);
    assert_eq!(again.send().await.expect(200), grant);
    // A later 2xx of the receiver does not change it either.
    let relaying = crate::webhook_endpoints::Relaying::start(&app);
    until_delivery(&app, &shop, "DELIVERED").await;
    assert_eq!(app.read(&grant_path(&granted)).await, grant);
    relaying.stop().await;
    // The last acknowledgement counts, and removes the reason of the one before.
    app.at("2026-03-01T12:00:04Z");
    let delivered = acknowledge(&app, &granted, json!({"state": "DELIVERED"}))
        .await
        .expect(200);
    assert_eq!(
        delivered["fulfilment"],
        json!({"state": "DELIVERED", "changedAt": "2026-03-01T12:00:04.000Z"})
    );

    for (pointer, body) in [
        ("/state", json!({"state": "PENDING"})),
        ("/state", json!({"state": "LOST"})),
        ("/state", json!({})),
        ("/reason", json!({"state": "FAILED", "reason": ""})),
        ("/reason", json!({"state": "FAILED", "reason": "x".repeat(501)})),
        ("/reference", json!({"state": "FAILED", "reference": "x".repeat(201)})),
    ] {
        let reply = acknowledge(&app, &granted, body.clone()).await;
        assert_eq!(reply.status, 422, "{body}");
        if pointer != "/state" || body["state"] == "PENDING" {
            assert_fault(reply, pointer);
        }
    }
    let nobody = json!({"grants": [{"id": UNKNOWN}]});
    acknowledge(&app, &nobody, json!({"state": "FAILED"}))
        .await
        .expect_problem(404, "no-such-grant");
    assert_eq!(app.read(&grant_path(&granted)).await, delivered);
}

#[apply(on_both_engines)]
async fn a_reversal_changes_no_fulfilment_and_reports_it(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let (_, granted) = grant(&app, &event).await;
    acknowledge(&app, &granted, json!({"state": "DELIVERED", "reference": "7"}))
        .await
        .expect(200);
    let operator = app.operator().await;
    let reversal = app
        .post(&format!("/reward-requests/{}/reversal", text(&granted, "id")))
        .bearer(&operator);
    reversal.json(&json!({"reason": "A mistake"})).send().await.expect(201);
    let grant = app.read(&grant_path(&granted)).await;
    assert_eq!(
        (&grant["requestStatus"], &grant["fulfilment"]["state"]),
        (&json!("REVERSED"), &json!("DELIVERED"))
    );
    // The reversal's message contains that the grant was delivered.
    let (payload,): (meed_host::db::Json<Value>,) = app
        .app
        .db
        .query("SELECT payload FROM outbox WHERE kind = 'reward.reversed'")
        .fetch_one(&app.app.db)
        .await
        .expect("a message");
    assert_eq!(payload.0["grants"][0]["fulfilment"], grant["fulfilment"]);
    // An operator can still correct the state to FAILED.
    let failed = acknowledge(&app, &granted, json!({"state": "FAILED"}))
        .await
        .expect(200);
    assert_eq!(
        (&failed["requestStatus"], &failed["fulfilment"]["state"]),
        (&json!("REVERSED"), &json!("FAILED"))
    );
}

#[apply(on_both_engines)]
async fn operators_list_grants_by_fulfilment(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let other = app.event("first-come", json!({}), json!({})).await;
    let mut granted = Vec::new();
    for (second, event) in [(1, &event), (2, &event), (3, &other), (4, &event)] {
        app.at(&format!("2026-03-01T12:00:0{second}Z"));
        granted.push(grant(&app, event).await);
    }
    let ids: Vec<_> = granted
        .iter()
        .map(|(_, granted)| text(&granted["grants"][0], "id").to_owned())
        .collect();
    acknowledge(&app, &granted[0].1, json!({"state": "DELIVERED"}))
        .await
        .expect(200);
    acknowledge(&app, &granted[1].1, json!({"state": "FAILED"}))
        .await
        .expect(200);
    let operator = app.operator().await;
    let reversal = app
        .post(&format!("/reward-requests/{}/reversal", text(&granted[3].1, "id")))
        .bearer(&operator);
    reversal.json(&json!({"reason": "A mistake"})).send().await.expect(201);
    let auditor = app.auditor().await;
    for (query, expected) in [
        (String::new(), vec![3, 2, 1, 0]),
        ("fulfilment=PENDING".to_owned(), vec![3, 2]),
        ("fulfilment=PENDING&requestStatus=GRANTED".to_owned(), vec![2]),
        ("fulfilment=DELIVERED".to_owned(), vec![0]),
        ("fulfilment=FAILED".to_owned(), vec![1]),
        (format!("fulfilment=FAILED&eventId={}", text(&other, "id")), vec![]),
        (format!("eventId={}", text(&other, "id")), vec![2]),
        (format!("userId={}", granted[1].0.id), vec![1]),
        (
            "from=2026-03-01T12:00:02Z&to=2026-03-01T12:00:04Z".to_owned(),
            vec![2, 1],
        ),
    ] {
        let page = app
            .get(&format!("/grants?{query}"))
            .bearer(&auditor)
            .send()
            .await
            .expect(200);
        let found = crate::support::each(&page["items"], "id");
        let expected: Vec<_> = expected.iter().map(|index: &usize| ids[*index].as_str()).collect();
        assert_eq!(found, expected, "{query}");
    }
    let first = app.get("/grants?pageSize=3").bearer(&auditor).send().await.expect(200);
    let next = format!("/grants?pageSize=3&pageToken={}", text(&first, "nextPageToken"));
    let rest = app.get(&next).bearer(&auditor).send().await.expect(200);
    assert_eq!(
        (crate::support::each(&rest["items"], "id"), rest.get("nextPageToken")),
        (vec![ids[0].as_str()], None)
    );
    app.get("/grants?fulfilment=LOST")
        .bearer(&auditor)
        .send()
        .await
        .expect_problem(400, "invalid-parameter");
}
