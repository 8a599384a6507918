//! Streams of separate processes

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{REQUESTS, Watcher};
use crate::faults::fixtures::{daily, points};
use crate::faults::fleet::{Fleet, client};
use crate::support::{TestApp, TestUser, text};

/// Claims until the claim is decided: claims of one user at several processes may be contended.
async fn claim(http: &reqwest::Client, base: &str, user: &TestUser, event: &Value) -> Value {
    loop {
        let call = http.post(format!("{base}/reward-requests")).bearer_auth(&user.token);
        let call = call.json(&json!({"eventId": event["id"]}));
        let answer = call.send().await.expect("a response");
        if answer.status() == 503 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        assert_eq!(answer.status(), 201);
        return answer.json().await.expect("a reward request");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_again_and_again_tells_the_grants_of_two_processes_once() {
    let fixtures = TestApp::on_postgres().await.in_real_time();
    // The server notices a broken connection a little later than its client.
    let settings = [("MEED__STREAMS__MAX_PER_USER", "100")];
    let fleet = Fleet::start_on(&fixtures, &fixtures.database_url(), 2, &settings).await;
    let users = fixtures.crowd(3).await;
    let reward = points(&fixtures, 1).await;
    let event = daily(&fixtures, &[&reward], 500).await;
    let http = client();
    let mut watcher = Watcher::open(&fleet.address(0), REQUESTS, &users[0].token, None).await;
    let claims = 60;
    // All users claim at both processes, so that commits are batched and overtake each other.
    let writing = async {
        let all = (0..claims * users.len()).map(|number| {
            let (http, address) = (http.clone(), fleet.address(number % 2));
            let (user, event) = (&users[number % users.len()], &event);
            async move {
                tokio::time::sleep(Duration::from_millis(20 * number as u64)).await;
                claim(&http, &address, user, event).await
            }
        });
        join_all(all).await
    };
    let reading = async {
        let mut told: Vec<String> = Vec::new();
        while told.len() < claims {
            // The connection breaks after a few events, and the next one is to the other process.
            for _ in 0..fastrand::usize(1..5) {
                if told.len() < claims {
                    let request = watcher.data("reward-request").await;
                    told.push(text(&request, "id").to_owned());
                }
            }
            let last = watcher.last.clone().expect("an id");
            let address = fleet.address(fastrand::usize(..2));
            watcher = Watcher::open(&address, REQUESTS, &users[0].token, Some(&last)).await;
        }
        watcher.is_quiet().await;
        told
    };
    let (written, told) = tokio::join!(writing, reading);
    let mut expected: Vec<&str> = written
        .iter()
        .filter(|request| request["userId"] == users[0].id.as_str())
        .map(|request| text(request, "id"))
        .collect();
    let mut found: Vec<&str> = told.iter().map(String::as_str).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_stream_survives_the_time_limits_and_ends_with_the_process() {
    let fixtures = TestApp::on_postgres().await.in_real_time();
    let settings = [
        ("MEED__HTTP__CLIENT_TIMEOUT_SECONDS", "1"),
        ("MEED__HTTP__TIMEOUT_SECONDS", "2"),
        ("MEED__STREAMS__HEARTBEAT_SECONDS", "1"),
        ("MEED__HTTP__DRAIN_SECONDS", "0"),
    ];
    let fleet = Fleet::start_on(&fixtures, &fixtures.database_url(), 1, &settings).await;
    let users = fixtures.crowd(2).await;
    let reward = points(&fixtures, 1).await;
    let event = daily(&fixtures, &[&reward], 10).await;
    let address = fleet.address(0);
    let mut watcher = Watcher::open(&address, REQUESTS, &users[0].token, None).await;
    let (started, mut heartbeats) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(5) {
        let sent = watcher.sent().await.expect("a heartbeat");
        assert!(sent.is_comment, "{sent:?}");
        heartbeats += 1;
    }
    assert!((3..=6).contains(&heartbeats), "{heartbeats}");
    let begun = Instant::now();
    let request = claim(&client(), &address, &users[0], &event).await;
    assert_eq!(watcher.data("reward-request").await, request);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // A logout ends it within seconds.
    let mut other = Watcher::open(&address, REQUESTS, &users[1].token, None).await;
    let out = client()
        .post(format!("{address}/auth/logout"))
        .bearer_auth(&users[1].token);
    assert_eq!(out.send().await.expect("a response").status(), 204);
    let begun = Instant::now();
    other.ends().await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    // So does the end of the process, which says when to come back.
    let reading = async {
        let mut retries = Vec::new();
        while let Some(sent) = watcher.sent().await {
            retries.extend(sent.retry);
        }
        retries
    };
    let begun = Instant::now();
    let (status, retries) = tokio::join!(fleet.stop(0), reading);
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(retries.len(), 1, "{retries:?}");
}
