//! `/reward-requests/{id}/reversal`: takes back all grants of a request once and frees what they used

use meed_host::auth::Role;
use meed_host::claims::SignedReversal;
use meed_host::db::Json;
use meed_host::sandbox::Digest;
use rstest_reuse::apply;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, TestUser, assert_fault, each, on_both_engines, text};

const GRANTED: &str = "SELECT CAST(COALESCE(SUM(g.quantity), 0) AS BIGINT) FROM grants g \
    JOIN reward_requests r ON r.user_id = g.user_id AND r.id = g.request_id WHERE r.status = 'GRANTED'";
const REVERSALS: &str = "SELECT COUNT(*) FROM reversals";

fn path_of(request: &Value) -> String {
    format!("/reward-requests/{}/reversal", text(request, "id"))
}

async fn reverse(app: &TestApp, request: &Value, reason: &str) -> Reply {
    let operator = app.operator().await;
    let call = app.post(&path_of(request)).bearer(&operator);
    call.json(&json!({"reason": reason})).send().await
}

async fn granted(app: &TestApp, user: &TestUser, event: &Value) -> Value {
    let request = app.claim(&user.token, event).send().await.expect(201);
    assert_eq!(text(&request, "status"), "GRANTED", "{request:#}");
    request
}

async fn remaining(app: &TestApp, reward: &Value) -> Value {
    app.read(&format!("/rewards/{}", text(reward, "id"))).await["stockRemaining"].clone()
}

async fn change_reward(app: &TestApp, reward: &Value, revision: u32, body: Value) {
    let operator = app.operator().await;
    let call = app.put(&format!("/rewards/{}", text(reward, "id"))).bearer(&operator);
    let call = call.header("if-match", &format!("\"{revision}\"")).json(&body);
    call.send().await.expect(200);
}

#[apply(on_both_engines)]
async fn a_reversal_frees_period_slot_and_stock(app: TestApp) {
    let (gold, silver) = (
        app.reward(json!({"type": "GOLD", "stock": 1})).await,
        app.reward(json!({"type": "SILVER"})).await,
    );
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"rewardIds": [gold["id"], silver["id"]]}),
        )
        .await;
    let (ada, bob) = (app.user(Role::User).await, app.user(Role::User).await);
    let request = granted(&app, &ada, &event).await;
    assert_eq!(request.get("reversal"), None);
    assert_eq!(
        text(
            &app.claim(&bob.token, &event).send().await.expect(201)["reasons"][0],
            "code"
        ),
        "sold-out"
    );

    app.at("2026-03-01T12:05:00Z");
    let reply = reverse(&app, &request, "Bought and returned").await;
    assert_eq!(reply.header("location"), path_of(&request));
    let reversal = reply.expect(201);
    let operator = app.read("/users/me").await;
    let mut grants: Vec<Value> = request["grants"]
        .as_array()
        .expect("grants")
        .iter()
        .map(|grant| json!({"id": grant["id"], "rewardId": grant["rewardId"], "quantity": 1}))
        .collect();
    grants.sort_by_key(|grant| text(grant, "rewardId").to_owned());
    assert_eq!(
        reversal,
        json!({
            "id": reversal["id"], "requestId": request["id"], "reason": "Bought and returned",
            "reversedBy": operator["id"], "reversedAt": "2026-03-01T12:05:00.000Z", "grants": grants,
        })
    );
    assert_eq!(app.read(&path_of(&request)).await, reversal);
    assert_eq!(remaining(&app, &gold).await, 1);

    // The user sees what was taken back, and why.
    let mine = app
        .get("/reward-requests/mine")
        .bearer(&ada.token)
        .send()
        .await
        .expect(200);
    let shown = &mine["items"][0];
    assert_eq!(
        (text(shown, "status"), &shown["retryable"], &shown["grants"]),
        ("REVERSED", &json!(true), &request["grants"])
    );
    assert_eq!(
        shown["reversal"],
        json!({
            "id": reversal["id"], "reason": "Bought and returned", "reversedAt": "2026-03-01T12:05:00.000Z",
        })
    );

    // Both stock and period slot are free: the same user is granted it again, in a new request.
    let again = granted(&app, &ada, &event).await;
    assert_ne!(again["id"], request["id"]);
    let refused = app
        .claim(&ada.token, &event)
        .send()
        .await
        .expect_problem(409, "already-granted");
    assert_eq!(refused["rewardRequestId"], again["id"]);
    assert_eq!((remaining(&app, &gold).await, app.count(GRANTED).await), (json!(0), 2));
    // And a user who was rejected before can get it after the next reversal.
    reverse(&app, &again, "Again").await.expect(201);
    assert_eq!(text(&granted(&app, &bob, &event).await, "period"), "once");
    let reversed = app.read("/reward-requests?status=REVERSED").await;
    assert_eq!(
        each(&reversed["items"], "id"),
        [text(&again, "id"), text(&request, "id")]
    );
}

#[apply(on_both_engines)]
async fn a_reversal_writes_a_message_with_the_grants(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let request = granted(&app, &user, &event).await;
    let reversal = reverse(&app, &request, "A mistake").await.expect(201);
    let told: Vec<(Json<Value>,)> = app
        .app
        .db
        .query("SELECT payload FROM outbox WHERE kind = 'reward.reversed'")
        .fetch_all(&app.app.db)
        .await
        .expect("the outbox");
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0].0.0,
        json!({
            "reversalId": reversal["id"], "requestId": request["id"], "eventId": event["id"], "userId": user.id,
            // Later than the grant, even at the same instant of the clock.
            "grants": request["grants"], "reason": "A mistake", "reversedAt": "2026-03-01T12:00:00.001Z",
        })
    );
}

#[apply(on_both_engines)]
async fn only_granted_requests_can_be_reversed_and_only_once(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let request = granted(&app, &user, &event).await;
    let reversal = reverse(&app, &request, "First").await.expect(201);
    let problem = reverse(&app, &request, "Second")
        .await
        .expect_problem(409, "already-reversed");
    assert_eq!(problem["reversalId"], reversal["id"]);
    assert_eq!(app.read(&path_of(&request)).await, reversal);

    let hard = app.event("login-streak", json!({"days": 9}), json!({})).await;
    let rejected = app.claim(&user.token, &hard).send().await.expect(201);
    let problem = reverse(&app, &rejected, "Nothing")
        .await
        .expect_problem(409, "not-granted");
    assert!(text(&problem, "detail").contains("REJECTED"), "{problem:#}");
    let operator = app.operator().await;
    app.get(&path_of(&rejected))
        .bearer(&operator)
        .send()
        .await
        .expect_problem(404, "no-such-reversal");

    let nobodys = json!({"id": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"});
    reverse(&app, &nobodys, "Nobody")
        .await
        .expect_problem(404, "no-such-reward-request");
    assert_eq!(app.count(REVERSALS).await, 1);
}

#[apply(on_both_engines)]
async fn a_reason_of_1_to_500_characters_is_required(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let request = granted(&app, &user, &event).await;
    let operator = app.operator().await;
    let send = async |body: Value| app.post(&path_of(&request)).bearer(&operator).json(&body).send().await;
    for reason in [
        json!(""),
        json!(" \n\t"),
        json!("é".repeat(501)),
        json!("a\u{0}b"),
        json!(7),
        json!(null),
    ] {
        assert_fault(send(json!({"reason": reason})).await, "/reason");
    }
    send(json!({})).await.expect_problem(422, "invalid-body");
    assert_fault(send(json!({"reason": "Fine", "stock": 1})).await, "/stock");
    assert_eq!(app.count(REVERSALS).await, 0);
    send(json!({"reason": "é".repeat(500)})).await.expect(201);
}

#[apply(on_both_engines)]
async fn owners_operators_and_auditors_can_read_it(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let (user, other, admin) = (
        app.user(Role::User).await,
        app.user(Role::User).await,
        app.user(Role::Admin).await,
    );
    let request = granted(&app, &user, &event).await;
    let path = path_of(&request);
    // Other users learn nothing before the reversal either.
    app.get(&path)
        .bearer(&user.token)
        .send()
        .await
        .expect_problem(404, "no-such-reversal");
    app.get(&path)
        .bearer(&other.token)
        .send()
        .await
        .expect_problem(404, "no-such-reward-request");
    for token in [&user.token, &app.auditor().await] {
        let call = app.post(&path).bearer(token).json(&json!({"reason": "Mine"}));
        call.send().await.expect_problem(403, "forbidden");
    }
    let call = app
        .post(&path)
        .bearer(&admin.token)
        .json(&json!({"reason": "By an admin"}));
    let reversal = call.send().await.expect(201);
    assert_eq!(reversal["reversedBy"], admin.id);
    for path in [path.clone(), format!("{path}/receipt")] {
        let shown = app.read(&path).await;
        for token in [&user.token, &app.auditor().await, &admin.token] {
            assert_eq!(app.get(&path).bearer(token).send().await.expect(200), shown);
        }
        app.get(&path)
            .bearer(&other.token)
            .send()
            .await
            .expect_problem(404, "no-such-reward-request");
        app.get(&path).send().await.expect_problem(401, "unauthenticated");
    }
}

#[apply(on_both_engines)]
async fn a_reversal_has_a_receipt_that_anyone_can_verify(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let request = granted(&app, &user, &event).await;
    let reversal = reverse(&app, &request, "Überraschung \u{1f381}\n\"quoted\"")
        .await
        .expect(201);
    let original = app
        .read(&format!("/reward-requests/{}/receipt", text(&request, "id")))
        .await;
    let signed = app.read(&format!("{}/receipt", path_of(&request))).await;
    assert_eq!(
        signed["receipt"],
        crate::support::with(
            reversal,
            json!({
                "format": "meed-reversal/2", "eventId": event["id"], "userId": user.id, "requestDigest": original["digest"],
            })
        )
    );
    let keys = app.get("/.well-known/receipt-keys.json").send().await;
    let jwks = String::from_utf8(keys.bytes).expect("text");
    let keys = meed_host::keys::PublicKey::of_jwks(&jwks).expect("keys");
    let verify = |signed: &Value| {
        let signed: SignedReversal = serde_json::from_value(signed.clone()).expect("a receipt");
        signed.verify(Some(&keys)).map_err(|error| error.to_string())
    };
    assert_eq!(verify(&signed), Ok(()));
    for (pointer, value, why) in [
        ("/receipt/reason", json!("Another"), "digest"),
        ("/receipt/grants/0/quantity", json!(2), "digest"),
        ("/receipt/format", json!("meed-receipt/1"), "meed-reversal/2"),
        ("/signature/keyId", json!("other"), "signature"),
    ] {
        let mut changed = signed.clone();
        *changed.pointer_mut(pointer).expect(pointer) = value;
        let error = verify(&changed).expect_err(pointer);
        assert!(error.contains(why), "{pointer}: {error}");
    }
    // Content and digest were both changed.
    let mut changed = signed.clone();
    changed["receipt"]["reason"] = json!("Another");
    let canonical = serde_json_canonicalizer::to_string(&changed["receipt"]).expect("canonical JSON");
    let salt = hex::decode(text(&changed, "salt")).expect("hexadecimal");
    changed["digest"] = json!(Digest::of(&[salt.as_slice(), canonical.as_bytes()].concat()));
    assert!(verify(&changed).expect_err("a forgery").contains("signature"));

    // The same with the executable, without the server.
    let directory = tempfile::tempdir().expect("a directory");
    let replay = |receipt: &Value| {
        std::fs::write(directory.path().join("reversal.json"), receipt.to_string()).expect("a file");
        std::fs::write(directory.path().join("keys.json"), &jwks).expect("a file");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_meed"))
            .args(["replay", "reversal.json", "--keys", "keys.json"])
            .current_dir(directory.path())
            .output()
            .expect("the command starts");
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(printed).expect("text"))
    };
    let (code, printed) = replay(&signed);
    assert_eq!(code, Some(0), "{printed}");
    for shown in [
        "REVERSAL",
        "signature  good",
        text(&request, "id"),
        text(&original, "digest"),
    ] {
        assert!(printed.contains(shown), "{shown} is not in {printed}");
    }
    let (code, printed) = replay(&changed);
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("signature"), "{printed}");
}

#[apply(on_both_engines)]
async fn the_stored_response_remains_and_a_new_key_is_a_new_claim(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let claim = async |key: &str| {
        app.claim(&user.token, &event)
            .header("idempotency-key", key)
            .send()
            .await
    };
    let first = claim("a").await;
    reverse(&app, &first.json, "A mistake").await.expect(201);
    let again = claim("a").await;
    assert_eq!(
        (again.header("idempotent-replayed"), &again.bytes),
        ("true", &first.bytes)
    );
    let new = claim("b").await.expect(201);
    assert_eq!(text(&new, "status"), "GRANTED");
    assert_ne!(new["id"], first.json["id"]);
}

#[apply(on_both_engines)]
async fn a_period_slot_in_the_middle_is_free_again(app: TestApp) {
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"recurrence": {"period": "DAILY", "count": 3}}),
        )
        .await;
    let user = app.user(Role::User).await;
    let mut requests = Vec::new();
    for _ in 0..3 {
        requests.push(granted(&app, &user, &event).await);
    }
    reverse(&app, &requests[1], "The second").await.expect(201);
    let progress = app
        .get(&format!("/events/{}/progress", text(&event, "id")))
        .bearer(&user.token)
        .send()
        .await
        .expect(200);
    assert_eq!((&progress["granted"], &progress["eligible"]), (&json!(2), &json!(true)));
    let again = granted(&app, &user, &event).await;
    let receipt = app
        .read(&format!("/reward-requests/{}/receipt", text(&again, "id")))
        .await;
    assert_eq!(receipt["receipt"]["slot"], 2);
    app.claim(&user.token, &event)
        .send()
        .await
        .expect_problem(409, "already-granted");
}

#[apply(on_both_engines)]
async fn a_reversal_returns_stock_only_to_the_stock_it_was_taken_from(app: TestApp) {
    let reward = app.reward(json!({"type": "ITEM", "stock": 5})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let users = app.crowd(3).await;
    let limited = granted(&app, &users[0], &event).await;
    // A new total does not start a new count.
    change_reward(&app, &reward, 1, json!({"type": "ITEM", "stock": 1})).await;
    assert_eq!(remaining(&app, &reward).await, 0);
    change_reward(&app, &reward, 2, json!({"type": "ITEM", "stock": 2})).await;
    let kept = granted(&app, &users[1], &event).await;
    assert_eq!(remaining(&app, &reward).await, 0);
    reverse(&app, &limited, "Counted").await.expect(201);
    assert_eq!(remaining(&app, &reward).await, 1);

    change_reward(&app, &reward, 3, json!({"type": "ITEM"})).await;
    let unlimited = granted(&app, &users[2], &event).await;
    change_reward(&app, &reward, 4, json!({"type": "ITEM", "stock": 7})).await;
    // The new stock counted neither of the grants.
    reverse(&app, &kept, "Of the stock before").await.expect(201);
    reverse(&app, &unlimited, "Of no stock").await.expect(201);
    assert_eq!(remaining(&app, &reward).await, 7);
}

#[apply(on_both_engines)]
async fn one_of_16_concurrent_reversals_succeeds(app: TestApp) {
    let replica = app.replica(&[]);
    let reward = app.reward(json!({"type": "ITEM", "stock": 10})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let user = app.user(Role::User).await;
    let request = granted(&app, &user, &event).await;
    let operator = app.operator().await;
    let calls: Vec<_> = (0..16)
        .map(|number| {
            let process = [&app, &replica][number % 2];
            let body = json!({"reason": format!("Number {number}")});
            tokio::spawn(process.post(&path_of(&request)).bearer(&operator).json(&body).send())
        })
        .collect();
    let (mut winners, mut losers) = (Vec::new(), Vec::new());
    for call in calls {
        let reply = call.await.expect("an answer");
        if reply.status == 201 {
            winners.push(reply.json);
        } else {
            losers.push(reply.expect_problem(409, "already-reversed"));
        }
    }
    assert_eq!((winners.len(), losers.len()), (1, 15));
    for problem in losers {
        assert_eq!(problem["reversalId"], winners[0]["id"]);
    }
    assert_eq!(app.read(&path_of(&request)).await, winners[0]);
    assert_eq!(
        (app.count(REVERSALS).await, remaining(&app, &reward).await),
        (1, json!(10))
    );
    assert_eq!(
        app.count("SELECT COUNT(*) FROM outbox WHERE kind = 'reward.reversed'")
            .await,
        1
    );
}

#[apply(on_both_engines)]
async fn concurrent_reversals_and_claims_on_sold_out_stock(app: TestApp) {
    let replica = app.replica(&[]);
    let (gold, silver) = (
        app.reward(json!({"type": "GOLD", "stock": 8})).await,
        app.reward(json!({"type": "SILVER", "stock": 8})).await,
    );
    // In both orders, so that claims and reversals on the two events touch the same stocks.
    let events = [
        app.event(
            "first-come",
            json!({}),
            json!({"rewardIds": [gold["id"], silver["id"]]}),
        )
        .await,
        app.event(
            "first-come",
            json!({}),
            json!({"rewardIds": [silver["id"], gold["id"]]}),
        )
        .await,
    ];
    let users = app.crowd(56).await;
    let mut held = Vec::new();
    for (user, event) in users[..8].iter().zip(events.iter().cycle()) {
        held.push(granted(&app, user, event).await);
    }
    assert_eq!(remaining(&app, &gold).await, 0);
    let operator = app.operator().await;
    let mut claims = Vec::new();
    let mut reversals = Vec::new();
    for (index, (user, event)) in users[8..48].iter().zip(events.iter().cycle()).enumerate() {
        let process = [&app, &replica][index % 2];
        claims.push(tokio::spawn(process.claim(&user.token, event).send()));
        if let Some(request) = held.get(index / 4).filter(|_| index % 4 == 3) {
            let call = process
                .post(&path_of(request))
                .bearer(&operator)
                .json(&json!({"reason": "Sold out"}));
            reversals.push(tokio::spawn(call.send()));
        }
    }
    assert_eq!(reversals.len(), 8);
    for reversal in reversals {
        reversal.await.expect("an answer").expect(201);
    }
    let mut given = 0;
    for claim in claims {
        let request = claim.await.expect("an answer").expect(201);
        match text(&request, "status") {
            "GRANTED" => given += 1,
            status => assert_eq!((status, text(&request["reasons"][0], "code")), ("REJECTED", "sold-out")),
        }
    }
    // Every freed reward is either granted or in stock, never both and never lost.
    for reward in [&gold, &silver] {
        assert_eq!(remaining(&app, reward).await, 8 - given);
    }
    assert_eq!(app.count(GRANTED).await, 2 * given);
    // All remaining stock can be claimed.
    for user in users[48..].iter().take(usize::try_from(8 - given).expect("a number")) {
        granted(&app, user, &events[0]).await;
    }
    assert_eq!((remaining(&app, &gold).await, app.count(GRANTED).await), (json!(0), 16));
}
