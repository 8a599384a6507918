//! Pending claims: answered with 202 and decided later, by `Prefer: respond-async` or because the event always does so.

use std::time::Duration;

use meed_host::auth::Role;
use meed_host::claims::SignedReceipt;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::guests::Condition;
use crate::support::{Background, Reply, TestApp, TestUser, each, guest, on_both_engines, text};

/// A process that decides pending claims until this is dropped.
pub struct Working(Background);

impl Working {
    pub fn start(app: &TestApp) -> Self {
        let claims = app.app.claims.clone();
        Self(Background::start(&app.clock, move || claims.worker()))
    }

    pub async fn stop(self) {
        self.0.stop().await;
    }
}

pub(super) async fn receive(app: &TestApp, user: &TestUser, event: &Value) -> Reply {
    app.claim(&user.token, event)
        .header("prefer", "respond-async")
        .header("x-request-id", "rush-7")
        .send()
        .await
}

async fn under(app: &TestApp, user: &TestUser, event: &Value, key: &str) -> Reply {
    let call = app.claim(&user.token, event).header("prefer", "respond-async");
    call.header("idempotency-key", key).send().await
}

fn path(request: &Value) -> String {
    format!("/reward-requests/{}", text(request, "id"))
}

/// Waits until the claim is decided.
pub async fn decided(app: &TestApp, request: &Value) -> Value {
    for _ in 0..400 {
        let request = app.read(&path(request)).await;
        if request["status"] != "RECEIVED" {
            return request;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never decided: {request:#}");
}

const WAITING: &str = "SELECT COUNT(*) FROM pending_claims";
const TOLD: &str = "SELECT COUNT(*) FROM outbox WHERE kind = 'reward.granted' AND http_request_id = 'rush-7'";

#[apply(on_both_engines)]
async fn a_pending_claim_is_decided_later_under_the_same_id(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let (user, other) = (app.user(Role::User).await, app.user(Role::User).await);
    let reply = receive(&app, &user, &event).await;
    let headers = ["location", "retry-after", "preference-applied"].map(|name| reply.header(name).to_owned());
    let received = reply.expect(202);
    assert_eq!(headers, [path(&received), "1".to_owned(), "respond-async".to_owned()]);
    assert_eq!(
        received,
        json!({
            "id": received["id"], "eventId": event["id"], "eventRevision": 1, "userId": user.id,
            "status": "RECEIVED", "retryable": false, "reasons": [], "progress": [], "retryAt": null, "period": "once",
            "grants": [], "receivedAt": "2026-03-01T12:00:00.000Z", "decidedAt": null,
            "pluginDigest": event["condition"]["digest"],
        })
    );
    // Its user and operators can read it like any other request.
    assert_eq!(
        app.get(&path(&received)).bearer(&user.token).send().await.expect(200),
        received
    );
    app.get(&path(&received))
        .bearer(&other.token)
        .send()
        .await
        .expect_problem(404, "no-such-reward-request");
    let mine = app
        .get("/reward-requests/mine")
        .bearer(&user.token)
        .send()
        .await
        .expect(200);
    assert_eq!(mine["items"], json!([received]));
    assert_eq!(
        app.read("/reward-requests?status=RECEIVED").await["items"],
        json!([received])
    );
    assert_eq!(app.read("/reward-requests?status=GRANTED").await["items"], json!([]));
    let progress = format!("/events/{}/progress", text(&event, "id"));
    let stands = app.get(&progress).bearer(&user.token).send().await.expect(200);
    assert_eq!(
        (&stands["pendingRequestId"], &stands["granted"]),
        (&received["id"], &json!(0))
    );
    // It has no receipt and cannot be reversed yet.
    let receipt = format!("{}/receipt", path(&received));
    app.get(&receipt)
        .bearer(&user.token)
        .send()
        .await
        .expect_problem(409, "not-decided");
    app.get(&receipt)
        .bearer(&other.token)
        .send()
        .await
        .expect_problem(404, "no-such-reward-request");
    let reversal = format!("{}/reversal", path(&received));
    let operator = app.operator().await;
    let reverse = app
        .post(&reversal)
        .bearer(&operator)
        .json(&json!({"reason": "A mistake"}));
    reverse.send().await.expect_problem(409, "not-granted");
    app.get(&reversal)
        .bearer(&user.token)
        .send()
        .await
        .expect_problem(404, "no-such-reversal");
    assert_eq!(app.count("SELECT COUNT(*) FROM reward_requests").await, 0);

    app.at("2026-03-01T12:00:07Z");
    let working = Working::start(&app);
    let granted = decided(&app, &received).await;
    assert_eq!((text(&granted, "status"), &granted["id"]), ("GRANTED", &received["id"]));
    assert_eq!(
        (text(&granted, "receivedAt"), text(&granted, "decidedAt")),
        ("2026-03-01T12:00:00.000Z", "2026-03-01T12:00:07.000Z")
    );
    let signed = app.get(&receipt).bearer(&user.token).send().await.expect(200);
    let signed: SignedReceipt = serde_json::from_value(signed).expect("a receipt");
    signed.verify(None).expect("a true receipt");
    let receipt = signed.receipt.expect("content");
    let run = receipt.evaluation.expect("an evaluation");
    assert_eq!(
        [receipt.received_at, run.as_of, run.known_by].map(|instant| instant.to_string()),
        [
            "2026-03-01T12:00:00.000Z",
            "2026-03-01T12:00:00.000Z",
            "2026-03-01T12:00:07.000Z"
        ]
    );
    let mine = app
        .get("/reward-requests/mine")
        .bearer(&user.token)
        .send()
        .await
        .expect(200);
    assert_eq!(mine["items"], json!([granted]));
    assert_eq!(app.count(WAITING).await, 0);
    // The message has the id of the HTTP request that claimed.
    assert_eq!(app.count(TOLD).await, 1);
    let stands = app.get(&progress).bearer(&user.token).send().await.expect(200);
    assert_eq!((stands.get("pendingRequestId"), &stands["granted"]), (None, &json!(1)));
    // From then on a claim is a repeat, also at another process with empty caches.
    let replica = app.replica(&[]);
    receive(&replica, &user, &event)
        .await
        .expect_problem(409, "already-granted");
    let repeat = receive(&app, &user, &event)
        .await
        .expect_problem(409, "already-granted");
    assert_eq!(repeat["rewardRequestId"], granted["id"]);
    working.stop().await;
}

#[apply(on_both_engines)]
async fn an_event_can_always_respond_asynchronously_and_every_form_of_prefer_is_parsed(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({"respondAsync": true})).await;
    assert_eq!(event["respondAsync"], true);
    let user = app.user(Role::User).await;
    let reply = app.claim(&user.token, &event).send().await;
    assert_eq!((reply.status.as_u16(), reply.header("preference-applied")), (202, ""));
    let under_events = app
        .post("/events/requests")
        .bearer(&user.token)
        .json(&json!({"eventId": event["id"]}));
    assert_eq!(under_events.send().await.expect(202), reply.json);
    let changed = app
        .change_event(&event, json!({"respondAsync": false}))
        .await
        .expect(200);
    assert_eq!(
        (
            &changed["respondAsync"],
            &app.read(&format!("/events/{}", text(&event, "id"))).await["respondAsync"]
        ),
        (&json!(false), &json!(false))
    );

    for (prefer, status) in [
        ("respond-async", 202),
        ("Respond-Async, wait=10", 202),
        ("return=minimal,respond-async; foo=bar", 202),
        ("respond-asynchronously", 201),
        ("wait=10; respond-async", 201),
        ("", 201),
    ] {
        let user = app.user(Role::User).await;
        let reply = app.claim(&user.token, &event).header("prefer", prefer).send().await;
        assert_eq!(reply.status.as_u16(), status, "{prefer}: {:#}", reply.json);
    }
    let user = app.user(Role::User).await;
    let twice = app
        .claim(&user.token, &event)
        .header("prefer", "wait=10")
        .header("prefer", "respond-async");
    twice.send().await.expect(202);
}

#[apply(on_both_engines)]
async fn a_key_has_one_request_before_and_after_it_is_decided(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let other = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let received = under(&app, &user, &event, "k-1").await.expect(202);
    assert_eq!(under(&app, &user, &event, "k-1").await.expect(202), received);
    // A client without `Prefer` gets the same.
    let plain = app
        .claim(&user.token, &event)
        .header("idempotency-key", "k-1")
        .send()
        .await;
    assert_eq!(plain.expect(202), received);
    // So does a client without a key: a user has at most one pending claim per event.
    assert_eq!(receive(&app, &user, &event).await.expect(202), received);
    let refused = under(&app, &user, &event, "k-2")
        .await
        .expect_problem(409, "claim-pending");
    assert_eq!(refused["rewardRequestId"], received["id"]);
    under(&app, &user, &other, "k-1")
        .await
        .expect_problem(422, "idempotency-key-reused");
    let stranger = app.user(Role::User).await;
    let theirs = under(&app, &stranger, &event, "k-1").await.expect(202);
    assert_ne!(theirs["id"], received["id"]);
    assert_eq!(app.count(WAITING).await, 2);

    let working = Working::start(&app);
    let granted = decided(&app, &received).await;
    working.stop().await;
    for _ in 0..2 {
        let again = under(&app, &user, &event, "k-1").await;
        assert_eq!(again.header("idempotent-replayed"), "true");
        assert_eq!(again.header("location"), path(&granted));
        assert_eq!(again.expect(201), granted);
    }
    under(&app, &user, &event, "k-2")
        .await
        .expect_problem(409, "already-granted");
    under(&app, &user, &other, "k-1")
        .await
        .expect_problem(422, "idempotency-key-reused");
}

#[apply(on_both_engines)]
async fn a_pending_claim_is_decided_as_of_its_arrival(app: TestApp) {
    let event = app
        .event(
            "login-streak",
            json!({"days": 1}),
            json!({"endDate": "2026-03-02T00:00:00Z"}),
        )
        .await;
    let (early, late) = (app.user(Role::User).await, app.user(Role::User).await);
    app.at("2026-03-01T23:59:59.999Z");
    let token = app.log_in(&early).await;
    let in_time = app
        .claim(&token, &event)
        .header("prefer", "respond-async")
        .send()
        .await
        .expect(202);
    app.at("2026-03-02T00:00:00Z");
    let token = app.log_in(&late).await;
    let too_late = app
        .claim(&token, &event)
        .header("prefer", "respond-async")
        .send()
        .await
        .expect(202);
    app.at("2026-03-09T12:00:00Z");
    let _working = Working::start(&app);
    assert_eq!(decided(&app, &in_time).await["status"], "GRANTED");
    let rejected = decided(&app, &too_late).await;
    assert_eq!(
        (text(&rejected, "status"), text(&rejected["reasons"][0], "code")),
        ("REJECTED", "event-ended")
    );
}

#[apply(on_both_engines)]
async fn pending_claims_are_decided_in_order_of_arrival(app: TestApp) {
    let stock = app.reward(json!({"type": "ITEM", "stock": 3})).await;
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"rewardIds": [stock["id"]], "respondAsync": true}),
        )
        .await;
    let unlimited = app.event("first-come", json!({}), json!({"respondAsync": true})).await;
    let crowd = app.crowd(40).await;
    let mut received = Vec::new();
    let mut now = app.clock.now();
    // Not in the order of their ids.
    for user in crowd.iter().rev() {
        now = now.plus(Duration::from_millis(1));
        app.clock.set(now);
        received.push(app.claim(&user.token, &event).send().await.expect(202));
        app.claim(&user.token, &unlimited).send().await.expect(202);
    }
    // Several processes; a stopping one releases the queue to the others.
    let replica = app.replica(&[]);
    let workers = [Working::start(&app), Working::start(&replica), Working::start(&replica)];
    let mut statuses = Vec::new();
    for request in &received {
        let decided = decided(&app, request).await;
        if decided["status"] == "REJECTED" {
            assert_eq!(text(&decided["reasons"][0], "code"), "sold-out");
        }
        statuses.push(text(&decided, "status").to_owned());
    }
    assert_eq!(statuses[..3], ["GRANTED", "GRANTED", "GRANTED"]);
    assert!(statuses[3..].iter().all(|status| status == "REJECTED"), "{statuses:?}");
    for working in workers {
        working.stop().await;
    }
    let next = app.clock.now().plus(Duration::from_millis(1));
    app.clock.set(next);
    let user = app.user(Role::User).await;
    let last = app.claim(&user.token, &event).send().await.expect(202);
    let _working = Working::start(&app);
    assert_eq!(decided(&app, &last).await["status"], "REJECTED");
    assert_eq!(
        app.count("SELECT COUNT(*) FROM reward_requests WHERE status = 'GRANTED'")
            .await,
        43
    );
    assert_eq!(app.count(WAITING).await, 0);
}

#[apply(on_both_engines)]
async fn the_number_of_pending_claims_is_limited(app: TestApp) {
    let app = app.replica(&[("claims.max_pending", "4"), ("claims.max_pending_per_user", "2")]);
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(app.event("first-come", json!({}), json!({})).await);
    }
    let users = app.crowd(3).await;
    for event in &events[..2] {
        receive(&app, &users[0], event).await.expect(202);
    }
    let reply = receive(&app, &users[0], &events[2]).await;
    assert_eq!(reply.header("retry-after"), "1");
    reply.expect_problem(429, "too-many-pending-claims");
    // A repeat of a pending claim is not another one.
    receive(&app, &users[0], &events[0]).await.expect(202);
    for event in &events[..2] {
        receive(&app, &users[1], event).await.expect(202);
    }
    let reply = receive(&app, &users[2], &events[0]).await;
    assert_eq!(reply.header("retry-after"), "5");
    reply.expect_problem(503, "claim-queue-full");
    assert_eq!(app.count(WAITING).await, 4);
    // A synchronous claim is still possible.
    app.claim(&users[2].token, &events[0]).send().await.expect(201);
    let _working = Working::start(&app);
    for _ in 0..400 {
        let reply = receive(&app, &users[2], &events[1]).await;
        if reply.status == 202 {
            return;
        }
        reply.expect_problem(503, "claim-queue-full");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it stays full");
}

#[apply(on_both_engines)]
async fn a_pending_claim_that_can_no_longer_be_granted_is_rejected_with_a_receipt(app: TestApp) {
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"recurrence": {"period": "DAILY", "count": 1}}),
        )
        .await;
    let gone = app.event("first-come", json!({}), json!({})).await;
    let users = app.crowd(3).await;
    let repeat = receive(&app, &users[0], &event).await.expect(202);
    let granted = app.claim(&users[0].token, &event).send().await.expect(201);
    assert_eq!(granted["status"], "GRANTED");
    let disabled = receive(&app, &users[1], &event).await.expect(202);
    let admin = app.token(Role::Admin).await;
    let disable = app
        .patch(&format!("/users/{}", users[1].id))
        .bearer(&admin)
        .json(&json!({"disabled": true}));
    disable.send().await.expect(200);
    let orphaned = under(&app, &users[2], &gone, "k-1").await.expect(202);
    let delete = app
        .delete(&format!("/events/{}", text(&gone, "id")))
        .bearer(&app.operator().await)
        .send()
        .await;
    delete.expect(204);
    let _working = Working::start(&app);
    for (request, code) in [
        (&repeat, "already-granted"),
        (&disabled, "account-disabled"),
        (&orphaned, "event-deleted"),
    ] {
        let decided = decided(&app, request).await;
        assert_eq!(
            (text(&decided, "status"), each(&decided["reasons"], "code")),
            ("REJECTED", vec![code])
        );
        let signed = app.read(&format!("{}/receipt", path(request))).await;
        let signed: SignedReceipt = serde_json::from_value(signed).expect("a receipt");
        signed.verify(None).expect("a true receipt");
        assert!(signed.receipt.is_some_and(|receipt| receipt.evaluation.is_none()));
    }
    assert_eq!(app.read(&path(&repeat)).await["retryAt"], "2026-03-02T00:00:00.000Z");
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 1);
    let again = under(&app, &users[2], &gone, "k-1").await;
    assert_eq!(
        (again.header("idempotent-replayed"), &again.json["id"]),
        ("true", &orphaned["id"])
    );
}

#[apply(on_both_engines)]
async fn a_pending_claim_is_decided_although_its_key_has_another_answer(app: TestApp) {
    const MOVE: &str = "UPDATE idempotency_keys SET key = 'k-2' WHERE key = 'k-1'";
    let event = app.event("first-come", json!({}), json!({})).await;
    let (user, other) = (
        app.user(Role::User).await,
        app.event("first-come", json!({}), json!({})).await,
    );
    app.claim(&user.token, &other)
        .header("idempotency-key", "k-1")
        .send()
        .await
        .expect(201);
    let received = under(&app, &user, &event, "k-2").await.expect(202);
    let mut tx = app.begin().await;
    tx.query(MOVE).execute(&mut tx).await.expect("a change");
    tx.commit().await.expect("a commit");
    let _working = Working::start(&app);
    assert_eq!(decided(&app, &received).await["status"], "GRANTED");
    assert_eq!(app.count("SELECT COUNT(*) FROM idempotency_keys").await, 1);
    assert_eq!(app.count(WAITING).await, 0);
}

#[apply(on_both_engines)]
async fn a_pending_claim_already_answered_under_its_key_is_not_granted_again(app: TestApp) {
    const MOVE: &str = "UPDATE idempotency_keys SET key = 'k-2' WHERE key = 'k-1'";
    let places = json!({"recurrence": {"period": "DAILY", "count": 2}});
    let event = app.event("first-come", json!({}), places).await;
    let user = app.user(Role::User).await;
    let first = app
        .claim(&user.token, &event)
        .header("idempotency-key", "k-1")
        .send()
        .await
        .expect(201);
    let received = under(&app, &user, &event, "k-2").await.expect(202);
    // As if the key had been answered while its repeat was stored.
    let mut tx = app.begin().await;
    tx.query(MOVE).execute(&mut tx).await.expect("a change");
    tx.commit().await.expect("a commit");
    let _working = Working::start(&app);
    let repeated = decided(&app, &received).await;
    let reason = &repeated["reasons"][0];
    assert_eq!(
        (text(&repeated, "status"), text(reason, "source"), text(reason, "code")),
        ("REJECTED", "HOST", "repeated")
    );
    assert!(text(reason, "message").contains(text(&first, "id")), "{reason:#}");
    assert_eq!(app.count("SELECT COUNT(*) FROM grants").await, 1);
    assert_eq!(app.count(WAITING).await, 0);
    // The key has its first answer, and the second period slot is still free.
    let again = app
        .claim(&user.token, &event)
        .header("idempotency-key", "k-2")
        .send()
        .await
        .expect(201);
    assert_eq!(again["id"], first["id"]);
    assert_eq!(
        app.claim(&user.token, &event).send().await.expect(201)["status"],
        "GRANTED"
    );
}

#[apply(on_both_engines)]
async fn pending_claims_wait_for_a_slot_in_the_sandbox(app: TestApp) {
    let app = app.replica(&[
        ("sandbox.slots", "1"),
        ("sandbox.wait_ms", "1"),
        ("sandbox.standard.evaluate_fuel", "1000000000"),
    ]);
    let slow = Condition {
        items: "(global $turns (mut i32) (i32.const 0))".to_owned(),
        evaluate: "(loop $again (global.set $turns (i32.add (global.get $turns) (i32.const 1))) \
            (br_if $again (i32.lt_u (global.get $turns) (i32.const 3000000))))",
        ..guest("slow")
    };
    let plugin = app.install(slow.module()).await;
    let event = app.event_on(&plugin, json!({}), json!({})).await;
    let mut waiting = Vec::new();
    for user in app.crowd(40).await {
        waiting.push(receive(&app, &user, &event).await.expect(202));
    }
    let _working = Working::start(&app);
    for received in &waiting {
        assert_eq!(decided(&app, received).await["status"], "GRANTED");
    }
}

#[apply(on_both_engines)]
async fn a_process_without_the_lease_decides_no_pending_claims(app: TestApp) {
    const TAKE: &str = "INSERT INTO claim_queues (event_id, fence, lease_until) VALUES ($1, 7, $2)";
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let received = receive(&app, &user, &event).await.expect(202);
    // Another process holds the lease for four more seconds.
    let until = app.clock.now().plus(Duration::from_secs(4));
    let mut tx = app.begin().await;
    let take = tx.query(TAKE).bind(
        event["id"]
            .as_str()
            .expect("an id")
            .parse::<uuid::Uuid>()
            .expect("an id"),
    );
    take.bind(until).execute(&mut tx).await.expect("a lease");
    tx.commit().await.expect("a commit");
    let _working = Working::start(&app);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(app.read(&path(&received)).await["status"], "RECEIVED");
    app.clock.set(until);
    assert_eq!(decided(&app, &received).await["status"], "GRANTED");
    assert_eq!(app.count("SELECT fence FROM claim_queues").await, 8);
}
