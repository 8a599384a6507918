//! `Idempotency-Key`: sixteen kinds of repeats and the test of each
//!
//! | | repeat | test |
//! |---|---|---|
//! | 1 | a claim without a key: a second claim | `a_repeat_gets_a_byte_identical_response` |
//! | 2 | a grant: the same status, headers and bytes | the same |
//! | 3 | by the other path | the same |
//! | 4 | in another spelling of the same body | `a_repeat_can_differ_in_formatting_and_reach_another_process` |
//! | 5 | at another process | the same |
//! | 6 | after the process was killed and started again | `faults::kill` |
//! | 7 | after the database's answer was lost | `faults::lost_replies` |
//! | 8 | sixteen at the same time | `one_of_16_concurrent_claims_under_one_key_is_made` |
//! | 9 | while the first is processed, after its client disconnected | `a_disconnected_client_can_retry_while_its_claim_is_processed` |
//! | 10 | for another event, later or at the same time | `a_key_belongs_to_one_claim_of_one_user`, `one_of_two_claims_for_different_events_under_one_key_is_made` |
//! | 11 | by another user | `a_key_belongs_to_one_claim_of_one_user` |
//! | 12 | with a header that is not a valid key | `a_key_is_1_to_255_visible_ascii_characters` |
//! | 13 | a rejection, until the key expires | `a_rejection_is_repeated_until_the_key_expires` |
//! | 14 | a failure: decided again | `a_failure_is_not_stored` |
//! | 15 | a refusal (4xx): processed again, the key is unused | `a_refused_request_does_not_use_up_its_key` |
//! | 16 | after the event was paused or the request reversed | `a_repeat_does_not_read_the_event`, `reversal::the_stored_response_remains_and_a_new_key_is_a_new_claim` |

use std::time::Duration;

use meed_host::auth::Role;
use meed_host::db::Engine;
use rstest_reuse::apply;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::sets::hold;
use crate::guests::Condition;
use crate::support::{Reply, TestApp, bundled, guest, on_both_engines, text};

async fn claim(app: &TestApp, token: &str, event: &Value, key: &str) -> Reply {
    app.claim(token, event).header("idempotency-key", key).send().await
}

const ROWS: &str = "SELECT COUNT(*) FROM reward_requests";

#[apply(on_both_engines)]
async fn a_repeat_gets_a_byte_identical_response(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let first = claim(&app, &user.token, &event, "k-1").await;
    assert_eq!((first.status.as_u16(), first.header("idempotent-replayed")), (201, ""));
    app.at("2026-03-01T12:09:00Z");
    for path in ["/reward-requests", "/events/requests"] {
        let call = app.post(path).bearer(&user.token).header("idempotency-key", "k-1");
        let again = call.json(&json!({"eventId": event["id"]})).send().await;
        assert_eq!((again.status, &again.bytes), (first.status, &first.bytes));
        assert_eq!(again.header("idempotent-replayed"), "true");
        for header in ["content-type", "location"] {
            assert_eq!(again.header(header), first.header(header), "{header}");
        }
    }
    // Without the key, or with another one, it is a second claim.
    app.claim(&user.token, &event)
        .send()
        .await
        .expect_problem(409, "already-granted");
    claim(&app, &user.token, &event, "k-2")
        .await
        .expect_problem(409, "already-granted");
    assert_eq!(app.count(ROWS).await, 1);
}

#[apply(on_both_engines)]
async fn a_rejection_is_repeated_until_the_key_expires(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 2}), json!({})).await;
    let user = app.user(Role::User).await;
    let first = claim(&app, &user.token, &event, "daily").await;
    assert_eq!(first.json["status"], "REJECTED");
    app.at("2026-03-02T12:00:00Z");
    app.log_in(&user).await;
    app.at("2026-03-04T11:59:59.999Z");
    let token = app.log_in(&user).await;
    assert_eq!(claim(&app, &token, &event, "daily").await.bytes, first.bytes);
    assert_eq!(app.app.claims.sweep().await.expect("a sweep"), 0);

    app.at("2026-03-04T12:00:00Z");
    let token = app.log_in(&user).await;
    let anew = claim(&app, &token, &event, "daily").await;
    assert_eq!(anew.header("idempotent-replayed"), "");
    assert_ne!(anew.json["id"], first.json["id"]);
    assert_eq!(claim(&app, &token, &event, "daily").await.bytes, anew.bytes);
    assert_eq!(app.count(ROWS).await, 2);
    app.at("2026-03-07T12:00:00Z");
    assert_eq!(app.app.claims.sweep().await.expect("a sweep"), 1);
}

#[apply(on_both_engines)]
async fn many_expired_responses_are_deleted_in_batches(app: TestApp) {
    // As many as after a busy day. The newest cannot be deleted; the batches deleted before it stay deleted.
    const MORE: &str = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1999) \
        INSERT INTO idempotency_keys (user_id, key, fingerprint, request_id, response, created_at, expires_at) \
        SELECT user_id, 'k-' || n, fingerprint, request_id, response, created_at, expires_at - n \
        FROM idempotency_keys, numbers";
    const KEYS: &str = "SELECT COUNT(*) FROM idempotency_keys";
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    claim(&app, &user.token, &event, "newest").await.expect(201);
    let mut tx = app.begin().await;
    tx.query(MORE).execute(&mut tx).await.expect("more answers");
    let refuse: &[&str] = match tx.engine() {
        Engine::Postgres => &[
            "CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$",
            "CREATE TRIGGER refuse BEFORE DELETE ON idempotency_keys FOR EACH ROW WHEN (OLD.key = 'newest') \
                EXECUTE FUNCTION refuse()",
        ],
        Engine::Sqlite => &[
            "CREATE TRIGGER refuse BEFORE DELETE ON idempotency_keys WHEN OLD.key = 'newest' \
            BEGIN SELECT RAISE(ABORT, 'refused'); END",
        ],
    };
    for statement in refuse {
        tx.query(statement).execute(&mut tx).await.expect("a trigger");
    }
    tx.commit().await.expect("a commit");
    assert_eq!(app.count(KEYS).await, 2000);
    app.at("2026-03-04T12:00:00Z");
    assert!(app.app.claims.sweep().await.is_err());
    let left = app.count(KEYS).await;
    assert!((1..=500).contains(&left), "{left} are left of 2000");

    let drop = match app.app.db.engine() {
        Engine::Postgres => "DROP TRIGGER refuse ON idempotency_keys",
        Engine::Sqlite => "DROP TRIGGER refuse",
    };
    let mut tx = app.begin().await;
    tx.query(drop).execute(&mut tx).await.expect("no trigger");
    tx.commit().await.expect("a commit");
    assert_eq!(app.app.claims.sweep().await.expect("a sweep").cast_signed(), left);
    assert_eq!(app.count(KEYS).await, 0);
}

#[apply(on_both_engines)]
async fn a_key_belongs_to_one_claim_of_one_user(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let other = app.event("first-come", json!({}), json!({})).await;
    let (ada, bob) = (app.user(Role::User).await, app.user(Role::User).await);
    let granted = claim(&app, &ada.token, &event, "k").await.expect(201);
    claim(&app, &ada.token, &other, "k")
        .await
        .expect_problem(422, "idempotency-key-reused");
    let reply = claim(&app, &bob.token, &other, "k").await;
    assert_eq!(reply.header("idempotent-replayed"), "");
    let request = reply.expect(201);
    assert_eq!(
        (text(&request, "status"), &request["eventId"]),
        ("GRANTED", &other["id"])
    );
    assert_ne!(request["id"], granted["id"]);
}

#[apply(on_both_engines)]
async fn a_key_is_1_to_255_visible_ascii_characters(app: TestApp) {
    let event = app.event("login-streak", json!({"days": 9}), json!({})).await;
    let user = app.user(Role::User).await;
    let longest = "~".repeat(255);
    for key in ["!", "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77", longest.as_str()] {
        claim(&app, &user.token, &event, key).await.expect(201);
    }
    let too_long = "k".repeat(256);
    for key in ["", "two words", "tab\there", "clé", too_long.as_str()] {
        claim(&app, &user.token, &event, key)
            .await
            .expect_problem(400, "invalid-parameter");
    }
    let two = app
        .claim(&user.token, &event)
        .header("idempotency-key", "a")
        .header("idempotency-key", "b");
    two.send().await.expect_problem(400, "invalid-parameter");
    assert_eq!(app.count("SELECT COUNT(*) FROM idempotency_keys").await, 3);
}

#[apply(on_both_engines)]
async fn a_failure_is_not_stored(app: TestApp) {
    let plugin = app
        .install(
            Condition {
                evaluate: "(unreachable)",
                ..guest("trapping")
            }
            .module(),
        )
        .await;
    let event = app.event_on(&plugin, json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let failed = claim(&app, &user.token, &event, "k").await.expect(201);
    assert_eq!(text(&failed, "status"), "FAILED");
    let works = app.install(bundled("first-come")).await;
    let condition = json!({"plugin": works.name, "version": works.version, "params": {}});
    app.change_event(&event, json!({"condition": condition}))
        .await
        .expect(200);
    let granted = claim(&app, &user.token, &event, "k").await;
    assert_eq!(granted.json["status"], "GRANTED");
    assert_eq!(claim(&app, &user.token, &event, "k").await.bytes, granted.bytes);
}

#[apply(on_both_engines)]
async fn one_of_16_concurrent_claims_under_one_key_is_made(app: TestApp) {
    let replica = app.replica(&[]);
    for (plugin, params, status) in [
        ("first-come", json!({}), "GRANTED"),
        ("login-streak", json!({"days": 9}), "REJECTED"),
    ] {
        let event = app
            .event(plugin, params, json!({"recurrence": {"period": "DAILY", "count": 5}}))
            .await;
        let user = app.user(Role::User).await;
        let claims: Vec<_> = (0..16)
            .map(|number| {
                let process = if number % 2 == 0 { &app } else { &replica };
                tokio::spawn(process.claim(&user.token, &event).header("idempotency-key", "k").send())
            })
            .collect();
        let mut replies = Vec::new();
        for claim in claims {
            replies.push(claim.await.expect("an answer"));
        }
        assert!(
            replies
                .iter()
                .all(|reply| reply.status == 201 && reply.bytes == replies[0].bytes),
            "{replies:#?}"
        );
        assert_eq!(replies[0].json["status"], status);
        let new = replies
            .iter()
            .filter(|reply| reply.header("idempotent-replayed").is_empty())
            .count();
        assert_eq!(new, 1);
        let path = format!("/reward-requests?eventId={}", text(&event, "id"));
        assert_eq!(app.read(&path).await["items"].as_array().map(Vec::len), Some(1));
    }
}

#[apply(on_both_engines)]
async fn concurrent_repeats_of_the_only_grant_are_not_second_claims(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    for _ in 0..4 {
        let user = app.user(Role::User).await;
        let claims: Vec<_> = (0..16)
            .map(|_| tokio::spawn(app.claim(&user.token, &event).header("idempotency-key", "k").send()))
            .collect();
        let mut ids = std::collections::HashSet::new();
        for claim in claims {
            let granted = claim.await.expect("an answer").expect(201);
            ids.insert(text(&granted, "id").to_owned());
        }
        assert_eq!(ids.len(), 1);
    }
}

#[apply(on_both_engines)]
async fn a_repeat_can_differ_in_formatting_and_reach_another_process(app: TestApp) {
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"recurrence": {"period": "DAILY", "count": 9}}),
        )
        .await;
    let user = app.user(Role::User).await;
    let first = claim(&app, &user.token, &event, "k").await;
    let id = text(&event, "id");
    let escaped = format!("\\u00{:x}", id.as_bytes()[0]) + &id[1..];
    let spellings = [
        format!("\n{{ \"eventId\" :\t\"{id}\" }}\r\n"),
        format!("{{\"eventId\":\"{}\"}}", id.to_uppercase()),
        format!("{{\"event\\u0049d\":\"{escaped}\"}}"),
    ];
    let replica = app.replica(&[]);
    for (body, process) in spellings.into_iter().zip([&replica, &app, &replica]) {
        let call = process
            .post("/reward-requests")
            .bearer(&user.token)
            .header("idempotency-key", "k");
        let again = call.bytes("application/json", body.clone()).send().await;
        assert_eq!((again.status.as_u16(), &again.bytes), (201, &first.bytes), "{body}");
        assert_eq!(again.header("idempotent-replayed"), "true");
    }
    assert_eq!(app.count(ROWS).await, 1);
}

#[apply(on_both_engines)]
async fn a_disconnected_client_can_retry_while_its_claim_is_processed(app: TestApp) {
    let event = app
        .event(
            "first-come",
            json!({}),
            json!({"recurrence": {"period": "DAILY", "count": 9}}),
        )
        .await;
    let user = app.user(Role::User).await;
    let address = app.listen().await;
    let held = hold(&app, &event).await;
    let body = json!({"eventId": event["id"]}).to_string();
    let request = format!(
        "POST /reward-requests HTTP/1.1\r\nHost: meed\r\nAuthorization: Bearer {}\r\nIdempotency-Key: k\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        user.token,
        body.len()
    );
    let mut client = tokio::net::TcpStream::connect(address.trim_start_matches("http://"))
        .await
        .expect("a server");
    client.write_all(request.as_bytes()).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(client);
    let again = tokio::spawn(app.claim(&user.token, &event).header("idempotency-key", "k").send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(held);
    let again = again.await.expect("an answer");
    assert_eq!(again.json["status"], "GRANTED");
    assert_eq!(claim(&app, &user.token, &event, "k").await.bytes, again.bytes);
    assert_eq!(app.count(ROWS).await, 1);
}

#[apply(on_both_engines)]
async fn one_of_two_claims_for_different_events_under_one_key_is_made(app: TestApp) {
    let daily = || json!({"recurrence": {"period": "DAILY", "count": 9}});
    let events = [
        app.event("first-come", json!({}), daily()).await,
        app.event("first-come", json!({}), daily()).await,
    ];
    for round in 0..4_i64 {
        let user = app.user(Role::User).await;
        let claims: Vec<_> = (0..16)
            .map(|number| {
                tokio::spawn(
                    app.claim(&user.token, &events[number % 2])
                        .header("idempotency-key", "k")
                        .send(),
                )
            })
            .collect();
        let mut made = std::collections::HashSet::new();
        for claim in claims {
            let reply = claim.await.expect("an answer");
            if reply.status == 201 {
                made.insert(text(&reply.json, "id").to_owned());
            } else {
                reply.expect_problem(422, "idempotency-key-reused");
            }
        }
        assert_eq!((made.len(), app.count(ROWS).await), (1, round + 1));
    }
}

#[apply(on_both_engines)]
async fn a_refused_request_does_not_use_up_its_key(app: TestApp) {
    let (event, other) = (
        app.event("first-come", json!({}), json!({})).await,
        app.event("first-come", json!({}), json!({})).await,
    );
    let user = app.user(Role::User).await;
    let nobody = json!({"id": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"});
    claim(&app, &user.token, &nobody, "k")
        .await
        .expect_problem(404, "no-such-event");
    claim(&app, &user.token, &json!({"id": 7}), "k")
        .await
        .expect_problem(422, "invalid-body");
    claim(&app, "no-token", &event, "k")
        .await
        .expect_problem(401, "invalid-token");
    app.claim(&user.token, &event).send().await.expect(201);
    claim(&app, &user.token, &event, "k")
        .await
        .expect_problem(409, "already-granted");
    let granted = claim(&app, &user.token, &other, "k").await;
    assert_eq!(
        (granted.header("idempotent-replayed"), text(&granted.json, "status")),
        ("", "GRANTED")
    );
}

#[apply(on_both_engines)]
async fn a_repeat_does_not_read_the_event(app: TestApp) {
    let event = app.event("first-come", json!({}), json!({})).await;
    let user = app.user(Role::User).await;
    let granted = claim(&app, &user.token, &event, "k").await;
    app.change_event(&event, json!({"isActive": false})).await.expect(200);
    let again = claim(&app, &user.token, &event, "k").await;
    assert_eq!((again.status, &again.bytes), (granted.status, &granted.bytes));
    assert_eq!(again.json["status"], "GRANTED");
}
