//! Redis over TLS, with a certificate of a private authority: Meed uses it if the machine trusts the authority
//! (`SSL_CERT_FILE`), and does not use it otherwise

use serde_json::json;

use super::soon;
use crate::faults::fixtures::{event, points};
use crate::faults::fleet::{self, Fleet};
use crate::support::{RedisServer, TestApp, TestUser, authority, certificate, free_port};

/// The status of a claim at a process.
async fn claim(fleet: &Fleet, number: usize, user: &TestUser, event: &serde_json::Value) -> u16 {
    let call = fleet::client().post(format!("{}/reward-requests", fleet.address(number)));
    let call = call.bearer_auth(&user.token).json(&json!({"eventId": event["id"]}));
    call.send().await.expect("an answer").status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_server_with_a_trusted_certificate_is_used() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (ours, theirs) = (authority(folder.path(), "ours"), authority(folder.path(), "theirs"));
    certificate(folder.path());
    let port = free_port();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key, ca) = (file("server.pem"), file("server.key"), file("ours.pem"));
    let redis = RedisServer::start_with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ])
    .await;
    let app = TestApp::on_sqlite().await;
    let fixtures = app.in_real_time();
    let url = format!("rediss://localhost:{port}");
    let (ours, theirs) = (ours.display().to_string(), theirs.display().to_string());
    let settings = |authority| {
        [
            ("MEED__CACHE__URL", url.as_str()),
            ("SSL_CERT_FILE", authority),
            ("MEED__LOG__FILTER", "warn,meed_host::cache=info"),
        ]
    };
    let trusting = Fleet::start_on(&fixtures, &fixtures.database_url(), 2, &settings(&ours)).await;
    soon("both processes reach Redis", async || {
        (0..2).all(|number| trusting.logged(number, "Connected to Redis") == 1)
    })
    .await;
    let reward = points(&fixtures, 5).await;
    let (event, user) = (
        event(&fixtures, &[&reward], json!({})).await,
        fixtures.crowd(1).await.remove(0),
    );
    assert_eq!(claim(&trusting, 0, &user, &event).await, 201);
    soon("the grant is cached", async || {
        redis.names("meed:granted:").await.len() == 1
    })
    .await;
    assert_eq!(claim(&trusting, 1, &user, &event).await, 409);

    // The server does not use Redis with an untrusted certificate, and works without it.
    let mistrusting = Fleet::start_on(&fixtures, &fixtures.database_url(), 1, &settings(&theirs)).await;
    soon("the other process knows that it cannot", async || {
        mistrusting.logged(0, "Redis is unreachable") == 1
    })
    .await;
    assert_eq!(claim(&mistrusting, 0, &user, &event).await, 409);
    // The log is that of the first process, which did connect.
    assert_eq!(mistrusting.logged(0, "Connected to Redis"), 1);
}
