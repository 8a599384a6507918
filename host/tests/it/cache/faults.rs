//! Claims while Redis fails in every way that it can: never twice, never beyond the stock, never lost

use std::time::{Duration, Instant};

use meed_host::auth::Role;
use serde_json::{Value, json};

use super::two;
use crate::support::{RedisServer, TestApp, TestUser, is_shared, on_both_engines};

const STOCK: usize = 40;
const USERS: usize = 100;
/// Of each user, at both processes.
const CLAIMS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed,
    Paused,
    Flushed,
    RestartedEmpty,
    Slow,
    Wrong,
}

/// Does it once.
async fn inflict(redis: &mut RedisServer, fault: Fault) {
    match fault {
        Fault::Killed => redis.kill(),
        Fault::Paused => redis.pause(),
        Fault::Flushed => redis.ask("FLUSHALL", &[]).await,
        Fault::RestartedEmpty => redis.restart().await,
        // Half a second for every answer, from what clients can see.
        Fault::Slow => redis.ask("CLIENT", &[b"PAUSE", b"500", b"ALL"]).await,
        Fault::Wrong => {
            for name in redis.names("meed:").await {
                () = redis.ask("SET", &[name.as_bytes(), b"wrong"]).await;
            }
        }
    }
}

/// Everybody claims at both processes at the same time while Redis fails again and again.
async fn race(app: &TestApp, fault: Fault) {
    let (mut redis, here, there) = two(app, &[]).await;
    let reward = app.reward(json!({"type": "ITEM", "stock": STOCK})).await;
    let event = app
        .event("first-come", json!({}), json!({"rewardIds": [reward["id"]]}))
        .await;
    let users = app.crowd(USERS).await;
    let started = Instant::now();
    let mut running = Vec::new();
    for (round, process) in [&here, &there].into_iter().cycle().take(2 * CLAIMS).enumerate() {
        running.extend(
            users
                .iter()
                .map(|user| tokio::spawn(process.claim(&user.token, &event).send())),
        );
        if round % 2 == 0 && (round == 0 || !matches!(fault, Fault::Killed | Fault::Paused)) {
            inflict(&mut redis, fault).await;
        }
    }
    let (mut granted, mut sold_out, mut repeats) = (0, 0, 0);
    for claim in running {
        let reply = claim.await.expect("an answer");
        match (reply.status.as_u16(), &reply.json) {
            (201, request) if request["status"] == "GRANTED" => granted += 1,
            // 200 repeats the answer that the user got before.
            (200 | 201, request) => {
                assert_eq!(request["reasons"][0]["code"], "sold-out", "{fault:?}: {request:#}");
                sold_out += 1;
            }
            (409, _) => {
                reply.expect_problem(409, "already-granted");
                repeats += 1;
            }
            (status, problem) => panic!("{fault:?}: {status} {problem:#}"),
        }
    }
    assert!(
        started.elapsed() < Duration::from_mins(1),
        "{fault:?}: {:?}",
        started.elapsed()
    );
    assert_eq!(granted, STOCK, "{fault:?}");
    assert_eq!(granted + sold_out + repeats, 2 * CLAIMS * USERS, "{fault:?}");
    holds(app, &reward, &users).await;
    if matches!(fault, Fault::Paused) {
        redis.resume();
    }
    if matches!(fault, Fault::Killed) {
        redis.restart().await;
    }
    // It heals by itself, and what is claimed then is right as well.
    is_shared(&here, true).await;
    is_shared(&there, true).await;
    let late = app.token(Role::User).await;
    for process in [&here, &there] {
        let reply = process.claim(&late, &event).send().await.expect(201);
        assert_eq!(reply["reasons"][0]["code"], "sold-out", "{fault:?}");
    }
}

async fn holds(app: &TestApp, reward: &Value, users: &[TestUser]) {
    const GRANTED: &str = "SELECT CAST(COALESCE(SUM(quantity), 0) AS BIGINT) FROM grants";
    const USERS_GRANTED: &str = "SELECT COUNT(DISTINCT user_id) FROM reward_requests WHERE status = 'GRANTED'";
    let stock = i64::try_from(STOCK).expect("a small number");
    assert!(users.len() > STOCK);
    assert_eq!(app.count(GRANTED).await, stock);
    assert_eq!(app.count(USERS_GRANTED).await, stock);
    assert_eq!(
        app.count("SELECT COUNT(*) FROM outbox WHERE kind = 'reward.granted'")
            .await,
        stock
    );
    let path = format!("/rewards/{}", crate::support::text(reward, "id"));
    assert_eq!(app.read(&path).await["stockRemaining"], 0);
}

on_both_engines! {
    async fn redis_is_killed(app: TestApp) {
        race(&app, Fault::Killed).await;
    }

    async fn redis_is_paused(app: TestApp) {
        race(&app, Fault::Paused).await;
    }

    async fn redis_is_flushed(app: TestApp) {
        race(&app, Fault::Flushed).await;
    }

    async fn redis_is_restarted_empty(app: TestApp) {
        race(&app, Fault::RestartedEmpty).await;
    }

    async fn redis_is_slow(app: TestApp) {
        race(&app, Fault::Slow).await;
    }

    async fn redis_is_wrong(app: TestApp) {
        race(&app, Fault::Wrong).await;
    }
}
