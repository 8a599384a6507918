//! Redis Cluster: every use of Redis works, although keys are on several nodes

use std::time::{Duration, Instant};

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use super::{progress, soon};
use crate::support::{RedisServer, TestApp, is_shared, on_both_engines, text};

const SLOTS: u16 = 16_384;
const NODES: u16 = 3;

/// A cluster of three nodes without replicas.
struct Cluster(Vec<RedisServer>);

impl Cluster {
    async fn start() -> Self {
        let mut nodes = Vec::new();
        for number in 0..NODES {
            let node = RedisServer::start_with(&["--cluster-enabled", "yes"]).await;
            let slots = (SLOTS * number / NODES..SLOTS * (number + 1) / NODES).map(|slot| slot.to_string());
            let slots: Vec<_> = slots.collect();
            let mut add = vec![&b"ADDSLOTS"[..]];
            add.extend(slots.iter().map(String::as_bytes));
            () = node.ask("CLUSTER", &add).await;
            let epoch = (number + 1).to_string();
            () = node.ask("CLUSTER", &[b"SET-CONFIG-EPOCH", epoch.as_bytes()]).await;
            nodes.push(node);
        }
        for node in &nodes[1..] {
            let address = node.address();
            let (host, port) = address.split_once(':').expect("a port");
            () = nodes[0]
                .ask("CLUSTER", &[b"MEET", host.as_bytes(), port.as_bytes()])
                .await;
        }
        let started = Instant::now();
        for node in &nodes {
            loop {
                let info: String = node.ask("CLUSTER", &[b"INFO"]).await;
                if info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3") {
                    break;
                }
                assert!(started.elapsed() < Duration::from_secs(20), "no cluster yet: {info}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Self(nodes)
    }

    /// The URL of two nodes, from which the client discovers the third.
    fn url(&self) -> String {
        format!("redis-cluster://{},{}", self.0[0].address(), self.0[1].address())
    }

    async fn names(&self, prefix: &str) -> Vec<String> {
        let mut names = Vec::new();
        for node in &self.0 {
            names.extend(node.names(prefix).await);
        }
        names
    }
}

#[apply(on_both_engines)]
async fn every_use_of_redis_works_through_a_cluster(app: TestApp) {
    let cluster = Cluster::start().await;
    let url = cluster.url();
    let settings = [
        ("cache.url", url.as_str()),
        ("auth.session_cache_seconds", "3600"),
        ("limits.user.burst", "100"),
        ("limits.user.per_minute", "60"),
    ];
    let (here, there) = (app.replica(&settings), app.replica(&settings));
    is_shared(&here, true).await;
    is_shared(&there, true).await;
    let event = app.event("first-come", json!({}), json!({})).await;
    let users = app.crowd(12).await;
    let user = &users[0];

    // Both processes share the limit.
    let granted = here.claim(&user.token, &event).send().await;
    assert_eq!(granted.header("ratelimit"), "\"user\";r=99;t=1");
    let granted = granted.expect(201);
    let repeat = there.claim(&user.token, &event).send().await;
    assert_eq!(repeat.header("ratelimit"), "\"user\";r=98;t=2");
    repeat.expect_problem(409, "already-granted");

    // Both processes receive invalidations.
    let operator = app.operator().await;
    let path = format!("/reward-requests/{}/reversal", text(&granted, "id"));
    here.post(&path)
        .bearer(&operator)
        .json(&json!({"reason": "returned"}))
        .send()
        .await
        .expect(201);
    let started = Instant::now();
    while there.claim(&user.token, &event).send().await.status != 201 {
        assert!(
            started.elapsed() < Duration::from_millis(1500),
            "the other process has not heard"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // The ranking of popular events counts both processes, across nodes.
    for (number, other) in users[1..].iter().enumerate() {
        let process = [&here, &there][number % 2];
        process.claim(&other.token, &event).send().await.expect(201);
    }
    let token = app.token(Role::User).await;
    soon("all claims are counted", async || {
        let popular = here.get("/events/popular").bearer(&token).send().await.expect(200);
        popular["items"][0]["claims"] == users.len()
    })
    .await;

    // Cache entries are on several nodes, and a repeat needs no database.
    assert_eq!(cluster.names("meed:granted:").await.len(), users.len());
    for node in &cluster.0 {
        assert!(
            node.names("meed:granted:").await.len() < users.len(),
            "one node holds all hints"
        );
    }
    for (number, other) in users[1..].iter().enumerate() {
        let process = [&there, &here][number % 2];
        progress(process, &other.token, &event).await.expect(200);
    }
    app.app.db.close().await;
    for (number, other) in users[1..].iter().enumerate() {
        let process = [&there, &here][number % 2];
        process
            .claim(&other.token, &event)
            .send()
            .await
            .expect_problem(409, "already-granted");
    }
}
