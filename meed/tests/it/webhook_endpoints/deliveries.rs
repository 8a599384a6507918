//! `/webhook-endpoints/{id}/deliveries`: delivery, retries, parking, redrive and deletion of messages.

use std::time::Duration;

use meed_host::auth::Role;
use meed_host::outbox;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{REQUEST_ID, Relaying, SETTINGS, endpoint, grant, path, relayed};
use crate::support::{Receiver, TestApp, each, on_both_engines, text};

const QUICK: Duration = Duration::ZERO;

/// Waits until the newest deliveries of an endpoint look like this; the clock does not advance meanwhile.
async fn until(app: &TestApp, endpoint: &Value, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let url = format!("{}/deliveries", path(endpoint));
    for _ in 0..400 {
        let page = app.read(&url).await;
        let items = page["items"].as_array().expect("items").clone();
        if fits(&items) {
            return items;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never so: {:#}", app.read(&url).await);
}

fn all_in(status: &str) -> impl Fn(&[Value]) -> bool {
    move |items| !items.is_empty() && items.iter().all(|item| item["status"] == status)
}

#[apply(on_both_engines)]
async fn a_grant_is_delivered_as_a_signed_cloud_event(app: TestApp) {
    let (app, _relaying) = relayed(&app);
    let receiver = Receiver::start().await;
    let created = endpoint(&app, &receiver, &["reward.granted", "reward.reversed"]).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    app.at("2026-03-01T12:00:05Z");
    let (user, granted) = grant(&app, &event).await;
    let got = receiver.wait_for(1).await.remove(0);
    assert_eq!(
        got.header("content-type"),
        "application/cloudevents+json; charset=utf-8"
    );
    assert_eq!(got.header("webhook-timestamp"), "1772366405");
    assert!(got.is_signed_with(text(&created, "secret")));
    assert_eq!(got.event["id"], got.id());
    assert_eq!(
        got.event,
        json!({
            "specversion": "1.0", "id": got.id(), "source": "meed", "type": "reward.granted", "subject": user.id,
            "time": granted["decidedAt"], "datacontenttype": "application/json",
            "requestid": REQUEST_ID,
            "data": {
                "requestId": granted["id"], "eventId": event["id"], "userId": user.id, "grants": granted["grants"],
                "grantedAt": granted["decidedAt"],
            },
        })
    );
    until(&app, &created, all_in("DELIVERED")).await;
    // The reversal follows the grant.
    app.at("2026-03-01T12:00:06Z");
    let operator = app.operator().await;
    let reversal = app
        .post(&format!("/reward-requests/{}/reversal", text(&granted, "id")))
        .bearer(&operator);
    reversal.json(&json!({"reason": "A mistake"})).send().await.expect(201);
    let reversed = receiver.wait_for(2).await.remove(1);
    assert_eq!(
        (&reversed.event["type"], &reversed.event["data"]["requestId"]),
        (&json!("reward.reversed"), &granted["id"])
    );

    let log = until(&app, &created, |items| items.len() == 2 && all_in("DELIVERED")(items)).await;
    assert_eq!(each(&log.clone().into(), "messageId"), [reversed.id(), got.id()]);
    assert_eq!(
        (&log[1]["type"], &log[1]["attempts"], &log[1]["lastAttempt"]["status"]),
        (&json!("reward.granted"), &json!(1), &json!(204))
    );
    assert_eq!(
        (&log[1]["finishedAt"], &log[1]["nextAttemptAt"]),
        (&json!("2026-03-01T12:00:05.000Z"), &Value::Null)
    );
    let detail = app.read(&format!("{}/deliveries/{}", path(&created), got.id())).await;
    assert_eq!(detail["event"], got.event);
}

#[apply(on_both_engines)]
async fn an_endpoint_receives_its_types_and_no_earlier_messages(app: TestApp) {
    let (app, _relaying) = relayed(&app);
    let event = app.event("first-come", json!({}), json!({})).await;
    grant(&app, &event).await;
    app.at("2026-03-01T12:00:01Z");
    let (all, events) = (Receiver::start().await, Receiver::start().await);
    let everything = endpoint(&app, &all, &[]).await;
    let only = endpoint(&app, &events, &["event.changed", "event.deleted"]).await;
    app.at("2026-03-01T12:00:02Z");
    let (user, _) = grant(&app, &event).await;
    app.at("2026-03-01T12:00:03Z");
    app.change_event(&event, json!({"title": "Other"})).await.expect(200);
    let got = all.wait_for(2).await;
    // Messages of the user and of the event are not ordered relative to each other.
    let mut kinds: Vec<_> = got
        .iter()
        .map(|got| (text(&got.event, "type"), text(&got.event, "subject")))
        .collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            ("event.changed", text(&event, "id")),
            ("reward.granted", user.id.as_str())
        ]
    );
    let changed = events.wait_for(1).await.remove(0);
    // A message has the same id at every endpoint.
    assert!(
        got.iter()
            .any(|got| got.id() == changed.id() && got.body == changed.body)
    );
    assert_eq!(changed.event["data"]["event"]["title"], "Other");
    until(&app, &everything, |items| {
        items.len() == 2 && all_in("DELIVERED")(items)
    })
    .await;
    until(&app, &only, |items| items.len() == 1 && all_in("DELIVERED")(items)).await;
}

#[apply(on_both_engines)]
async fn a_failed_delivery_is_retried_then_parked_and_can_be_redriven(app: TestApp) {
    let (app, _relaying) = relayed(&app);
    let receiver = Receiver::answering(|_, before| {
        if before < 4 {
            (503, "not now".to_owned(), QUICK)
        } else {
            (200, String::new(), QUICK)
        }
    })
    .await;
    let created = endpoint(&app, &receiver, &["reward.granted"]).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    grant(&app, &event).await;
    let mut clock = app.clock.now();
    for attempt in 1..=3 {
        let log = until(&app, &created, |items| {
            items.first().is_some_and(|item| {
                // During an attempt, its time is still shown as the next one.
                item["attempts"] == attempt && item["nextAttemptAt"].as_str() > Some(clock.to_string().as_str())
            })
        })
        .await;
        let next: meed_host::clock::Timestamp = text(&log[0], "nextAttemptAt").parse().expect("an instant");
        let after = next.as_millis() - clock.as_millis();
        assert!((8_000..=12_000).contains(&after), "{after} ms");
        // Not one millisecond earlier.
        app.clock.set(next.minus(Duration::from_millis(1)));
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(receiver.got().len(), attempt);
        app.clock.set(next);
        clock = next;
    }
    let parked = until(&app, &created, all_in("PARKED")).await;
    assert_eq!(
        (&parked[0]["attempts"], &parked[0]["lastAttempt"]["error"]),
        (&json!(4), &json!("answered 503 Service Unavailable"))
    );
    assert_eq!(
        (&parked[0]["lastAttempt"]["answer"], &parked[0]["nextAttemptAt"]),
        (&json!("not now"), &Value::Null)
    );
    app.clock.set(clock.plus(Duration::from_hours(100)));
    tokio::time::sleep(Duration::from_millis(250)).await;
    let got = receiver.got();
    assert_eq!(got.len(), 4);
    assert!(got.iter().all(|one| one.id() == got[0].id() && one.body == got[0].body));

    let operator = app.operator().await;
    let read = async |status: &str| {
        let list = app
            .get(&format!("{}/deliveries?status={status}", path(&created)))
            .bearer(&operator);
        list.send().await.expect(200)["items"].as_array().map(Vec::len)
    };
    assert_eq!((read("PARKED").await, read("DELIVERED").await), (Some(1), Some(0)));
    let redrive = app
        .post(&format!("{}/redrive", path(&created)))
        .bearer(&operator)
        .send()
        .await
        .expect(200);
    assert_eq!(redrive, json!({"redriven": 1}));
    assert_eq!(receiver.wait_for(5).await[4].id(), got[0].id());
    for _ in 0..100 {
        if read("DELIVERED").await == Some(1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!((read("PARKED").await, read("DELIVERED").await), (Some(0), Some(1)));
    // One that was delivered can be sent again as well.
    let one = format!("{}/deliveries/{}/redrive", path(&created), got[0].id());
    app.post(&one).bearer(&operator).send().await.expect(200);
    receiver.wait_for(6).await;
    let other = format!(
        "{}/deliveries/0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77/redrive",
        path(&created)
    );
    app.post(&other)
        .bearer(&operator)
        .send()
        .await
        .expect_problem(404, "no-such-delivery");
}

#[apply(on_both_engines)]
async fn messages_of_a_user_stay_in_order_and_delay_no_other_user(app: TestApp) {
    let (app, _relaying) = relayed(&app);
    let stubborn = app.user(Role::User).await;
    let id = stubborn.id.clone();
    // The first message of one user fails once.
    let mut failed = false;
    let receiver = Receiver::answering(move |event, _| {
        if event["subject"] == id.as_str() && !failed {
            failed = true;
            return (500, String::new(), QUICK);
        }
        (200, String::new(), QUICK)
    })
    .await;
    let created = endpoint(&app, &receiver, &["reward.granted"]).await;
    let mut requests = Vec::new();
    for second in 1..=3 {
        app.at(&format!("2026-03-01T12:00:0{second}Z"));
        let event = app.event("first-come", json!({}), json!({})).await;
        requests.push(app.claim(&stubborn.token, &event).send().await.expect(201)["id"].clone());
        grant(&app, &event).await;
    }
    // All other users' messages are delivered, and no further message of this user.
    let got = receiver.wait_for(4).await;
    let of_user = |got: &[crate::support::Got]| -> Vec<Value> {
        let his = got.iter().filter(|got| got.event["subject"] == stubborn.id.as_str());
        his.map(|got| got.event["data"]["requestId"].clone()).collect()
    };
    assert_eq!(of_user(&got), [requests[0].clone()]);
    let log = until(&app, &created, |items| {
        items.iter().filter(|item| item["status"] == "DELIVERED").count() == 3
    })
    .await;
    assert_eq!(log.iter().filter(|item| item["status"] == "WAITING").count(), 2);
    app.at("2026-03-01T12:00:20Z");
    let got = receiver.wait_for(7).await;
    assert_eq!(
        of_user(&got),
        [
            requests[0].clone(),
            requests[0].clone(),
            requests[1].clone(),
            requests[2].clone()
        ]
    );
    until(&app, &created, all_in("DELIVERED")).await;
}

#[apply(on_both_engines)]
async fn a_slow_receiver_delays_no_other_receiver(app: TestApp) {
    let patient = [SETTINGS, &[("webhooks.timeout_seconds", "60")]].concat();
    let app = app.replica(&patient);
    let _relaying = Relaying::start(&app);
    let slow = Receiver::answering(|_, _| (200, String::new(), Duration::from_mins(2))).await;
    let quick = Receiver::start().await;
    endpoint(&app, &slow, &["reward.granted"]).await;
    endpoint(&app, &quick, &["reward.granted"]).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let started = std::time::Instant::now();
    // More than the slow receiver gets at a time.
    for _ in 0..30 {
        grant(&app, &event).await;
    }
    let granted = started.elapsed();
    quick.wait_for(30).await;
    let delivered_after = started.elapsed().saturating_sub(granted);
    assert!(
        delivered_after < Duration::from_secs(20),
        "{delivered_after:?} after the last grant"
    );
    assert!((1..=16).contains(&slow.got().len()), "{} at once", slow.got().len());
}

#[apply(on_both_engines)]
async fn a_paused_endpoint_receives_messages_later_and_a_gone_one_is_paused(app: TestApp) {
    let (app, _relaying) = relayed(&app);
    let mut is_gone = true;
    let receiver = Receiver::answering(move |_, _| {
        let status = if std::mem::take(&mut is_gone) { 410 } else { 200 };
        (status, String::new(), QUICK)
    })
    .await;
    let created = endpoint(&app, &receiver, &["reward.granted"]).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let operator = app.operator().await;
    grant(&app, &event).await;
    receiver.wait_for(1).await;
    until(&app, &created, |items| items[0]["lastAttempt"]["status"] == 410).await;
    let paused = app.read(&path(&created)).await;
    assert_eq!(
        (text(&paused, "state"), text(&paused, "pauseReason")),
        ("PAUSED", "the receiver answered 410 Gone")
    );
    grant(&app, &event).await;
    app.at("2026-03-01T12:01:00Z");
    until(&app, &created, |items| items.len() == 2).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(receiver.got().len(), 1);
    let resumed = app
        .patch(&path(&created))
        .bearer(&operator)
        .json(&json!({"state": "ACTIVE"}))
        .send()
        .await
        .expect(200);
    assert_eq!(
        (text(&resumed, "state"), &resumed["pauseReason"]),
        ("ACTIVE", &Value::Null)
    );
    until(&app, &created, all_in("DELIVERED")).await;
    assert_eq!(receiver.got().len(), 3);
}

#[apply(on_both_engines)]
async fn a_replay_delivers_all_messages_since_a_time_again(app: TestApp) {
    let (app, _relaying) = relayed(&app);
    let early = Receiver::start().await;
    let first = endpoint(&app, &early, &["reward.granted"]).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    grant(&app, &event).await;
    app.at("2026-03-01T12:00:10Z");
    for _ in 0..2 {
        grant(&app, &event).await;
    }
    early.wait_for(3).await;
    until(&app, &first, |items| items.len() == 3 && all_in("DELIVERED")(items)).await;
    // Also to an endpoint that was created later.
    app.at("2026-03-01T12:00:20Z");
    let late = Receiver::start().await;
    let second = endpoint(&app, &late, &["reward.granted"]).await;
    let replayed = app
        .app
        .webhooks
        .replay("2026-03-01T12:00:05Z".parse().expect("an instant"))
        .await
        .expect("a replay");
    assert_eq!((replayed.messages, replayed.endpoints), (2, 2));
    let again = early.wait_for(5).await;
    let mut ids: Vec<_> = again[3..].iter().map(crate::support::Got::id).collect();
    let mut received: Vec<_> = late.wait_for(2).await.iter().map(|got| got.id().to_owned()).collect();
    ids.sort_unstable();
    received.sort_unstable();
    assert_eq!(ids, received);
    until(&app, &first, |items| items.len() == 3 && all_in("DELIVERED")(items)).await;
    until(&app, &second, |items| items.len() == 2 && all_in("DELIVERED")(items)).await;
}

#[apply(on_both_engines)]
async fn delivered_messages_are_deleted_later_and_undelivered_ones_kept(app: TestApp) {
    let (app, relaying) = relayed(&app);
    let (good, bad) = (
        Receiver::start().await,
        Receiver::answering(|event, _| {
            let status = if event["type"] == "event.created" { 200 } else { 500 };
            (status, String::new(), QUICK)
        })
        .await,
    );
    let first = endpoint(&app, &good, &[]).await;
    let second = endpoint(&app, &bad, &["event.created", "reward.granted"]).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    grant(&app, &event).await;
    until(&app, &first, all_in("DELIVERED")).await;
    until(&app, &second, |items| {
        items.len() == 2 && items.iter().any(|item| item["lastAttempt"]["status"] == 500)
    })
    .await;
    relaying.stop().await;
    let messages = app.count("SELECT COUNT(*) FROM outbox").await;
    assert_eq!(app.app.webhooks.sweep().await.expect("a sweep"), 0);
    app.at("2026-03-08T12:00:00Z");
    assert_eq!(app.app.webhooks.sweep().await.expect("a sweep"), 0);
    app.at("2026-03-08T12:00:01Z");
    // One endpoint has not received the grant yet.
    let forgotten = i64::try_from(app.app.webhooks.sweep().await.expect("a sweep")).expect("few");
    assert_eq!(app.count("SELECT COUNT(*) FROM outbox").await, messages - forgotten);
    assert_eq!(
        app.count("SELECT COUNT(*) FROM outbox WHERE kind = 'reward.granted'")
            .await,
        1
    );
    assert_eq!(app.count("SELECT COUNT(*) FROM webhook_deliveries d WHERE status <> 'PENDING' AND message_id NOT IN (SELECT id FROM outbox WHERE kind = 'reward.granted')").await, 0);
    // It is deleted once no endpoint needs it.
    let operator = app.operator().await;
    app.delete(&path(&second)).bearer(&operator).send().await.expect(204);
    assert_eq!(app.app.webhooks.sweep().await.expect("a sweep"), 1);
}

#[apply(on_both_engines)]
async fn messages_without_endpoints_are_deleted(app: TestApp) {
    let (app, relaying) = relayed(&app);
    let event = app.event("first-come", json!({}), json!({})).await;
    grant(&app, &event).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let oldest = outbox::oldest_unsent(&app.app.db).await.expect("an answer");
    assert_eq!(oldest, Some(app.clock.now()));
    relaying.stop().await;
    app.at("2026-03-08T12:00:01Z");
    assert!(app.app.webhooks.sweep().await.expect("a sweep") > 0);
    assert_eq!(app.count("SELECT COUNT(*) FROM outbox").await, 0);
}

#[apply(on_both_engines)]
async fn two_relays_share_the_work_and_one_takes_over_from_the_other(app: TestApp) {
    let app = app.in_real_time().replica(SETTINGS);
    let relays = [Relaying::start(&app), Relaying::start(&app)];
    let receiver = Receiver::start().await;
    let created = endpoint(&app, &receiver, &["reward.granted"]).await;
    let now = app.clock.now();
    let dates = json!({"startDate": now.minus(Duration::from_hours(1)), "endDate": now.plus(Duration::from_hours(1))});
    let event = app.event("first-come", json!({}), dates).await;
    for _ in 0..20 {
        grant(&app, &event).await;
    }
    receiver.wait_for(20).await;
    let [one, other] = relays;
    one.stop().await;
    for _ in 0..5 {
        grant(&app, &event).await;
    }
    receiver.wait_for(25).await;
    let log = until(&app, &created, |items| items.len() == 25 && all_in("DELIVERED")(items)).await;
    assert!(log.iter().all(|item| item["attempts"] == 1), "{log:#?}");
    other.stop().await;
}
