//! Concurrent uses of one refresh token at two processes.

use futures_util::future::join_all;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::claims::View;
use super::fleet::{self, Fleet};
use super::invariants;
use super::run::Run;
use super::seed::size;
use crate::support::{TestApp, TestUser, on_both_engines};

const HANDS: usize = 64;

const LIVE: &str = "SELECT COUNT(*) FROM refresh_tokens r JOIN sessions s ON s.user_id = r.user_id AND s.id = r.session_id \
    WHERE r.consumed_at IS NULL AND s.ended_at IS NULL";

async fn refresh(http: &reqwest::Client, address: &str, token: &str) -> (u16, Value) {
    let request = http
        .post(format!("{address}/auth/refresh"))
        .json(&json!({"refreshToken": token}));
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

async fn me(http: &reqwest::Client, address: &str, token: &str) -> u16 {
    let request = http.get(format!("{address}/users/me")).bearer_auth(token);
    request.send().await.expect("an answer").status().as_u16()
}

/// Asserts that the session has ended at both processes: neither the newest nor the first tokens are valid.
async fn is_over(http: &reqwest::Client, fleet: &Fleet, user: &TestUser, newest: &Value) {
    // A process reads the database again after two seconds.
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    for number in 0..fleet.size() {
        let address = fleet.address(number);
        let refreshed = refresh(http, &address, newest["refreshToken"].as_str().expect("a token")).await;
        assert_eq!(
            (refreshed.0, &refreshed.1["code"]),
            (401, &json!("invalid-refresh-token"))
        );
        for token in [&user.token, newest["accessToken"].as_str().expect("a token")] {
            assert_eq!(me(http, &address, token).await, 401);
        }
    }
}

/// Also covers CVE-2026-1035 of another product: two requests check and use one token.
#[apply(on_both_engines)]
async fn at_most_one_of_64_concurrent_refreshes_succeeds_and_the_session_ends(app: TestApp) {
    let mut run = Run::begin("A5 64 concurrent uses of one refresh token at two processes");
    let fixtures = app.in_real_time();
    let fleet = Fleet::start(&fixtures, 2).await;
    let http = fleet::client();
    let rounds = size(4, 200);
    let users = fixtures.crowd(rounds).await;
    for (round, user) in users.iter().enumerate() {
        let mut rng = run.round();
        let addresses: Vec<_> = (0..HANDS).map(|_| fleet.any(&mut rng)).collect();
        let calls = addresses
            .iter()
            .map(|address| refresh(&http, address, &user.refresh_token));
        let mut pairs = Vec::new();
        for (status, body) in join_all(calls).await {
            if status == 200 {
                pairs.push(body);
            } else {
                assert_eq!(
                    (status, &body["code"]),
                    (401, &json!("refresh-token-reused")),
                    "round {round}: {body}"
                );
            }
        }
        assert_eq!(pairs.len(), 1, "round {round}");
        assert_eq!(
            fixtures.count(LIVE).await.unsigned_abs(),
            (rounds - round - 1) as u64,
            "round {round}"
        );
        if round == 0 {
            is_over(&http, &fleet, user, &pairs[0]).await;
        }
    }
    run.count("refreshes", rounds * HANDS);
    invariants::check(&fixtures, &View::default(), &[]).await;
}

/// Covers CVE-2026-9802 of another product: used tokens that are valid again after a restart; and a repeat within one
/// second.
#[apply(on_both_engines)]
async fn a_used_token_stays_used_across_a_restart_and_within_a_second(app: TestApp) {
    let fixtures = app.in_real_time();
    let fleet = Fleet::start(&fixtures, 2).await;
    let http = fleet::client();
    let users = fixtures.crowd(2).await;

    let (status, pair) = refresh(&http, &fleet.address(0), &users[0].refresh_token).await;
    assert_eq!(status, 200);
    fleet.kill(0);
    fleet.kill(1);
    fleet.revive(0).await;
    fleet.revive(1).await;
    let (status, body) = refresh(&http, &fleet.address(1), &users[0].refresh_token).await;
    assert_eq!((status, &body["code"]), (401, &json!("refresh-token-reused")));
    is_over(&http, &fleet, &users[0], &pair).await;

    let (status, pair) = refresh(&http, &fleet.address(0), &users[1].refresh_token).await;
    assert_eq!(status, 200);
    for number in 0..2 {
        let (status, body) = refresh(&http, &fleet.address(number), &users[1].refresh_token).await;
        assert_eq!((status, &body["code"]), (401, &json!("refresh-token-reused")));
    }
    is_over(&http, &fleet, &users[1], &pair).await;
    invariants::check(&fixtures, &View::default(), &[]).await;
}
