//! Where and how often a service key may be used.

use aws_lc_rs::digest;
use rstest_reuse::apply;
use serde_json::json;

use super::{create, is_accepted, secret};
use crate::support::{TestApp, on_both_engines, text};

#[apply(on_both_engines)]
async fn a_key_is_bound_to_its_addresses(app: TestApp) {
    let created = create(
        &app,
        "shop",
        &["rewards:read"],
        json!({"addresses": ["203.0.113.0/24", "2001:db8::7"]}),
    )
    .await;
    let process = app.replica(&[("http.trusted_proxies", "127.0.0.1")]);
    let (url, client) = (process.listen().await, reqwest::Client::new());
    let get = async |address: &str| {
        let call = client
            .get(format!("{url}/rewards"))
            .bearer_auth(text(&created, "secret"));
        let reply = call.header("x-forwarded-for", address).send().await.expect("an answer");
        (reply.status().as_u16(), reply.text().await.expect("a body"))
    };
    for address in ["203.0.113.9", "2001:db8::7"] {
        assert_eq!(get(address).await.0, 200, "{address}");
    }
    for address in ["198.51.100.9", "2001:db8::8", "127.0.0.1"] {
        let (status, body) = get(address).await;
        assert_eq!(status, 403, "{address}: {body}");
        assert!(body.contains("address-not-allowed") && body.contains(address), "{body}");
    }
    let path = format!("/audit?actor={}", text(&created, "id"));
    let entries = app.get(&path).bearer(&app.auditor().await).send().await.expect(200);
    assert_eq!(entries["items"][0]["reason"], "address-not-allowed");
    assert_eq!(entries["items"][0]["actorName"], "shop");
}

#[apply(on_both_engines)]
async fn a_key_has_a_limit_of_its_own(app: TestApp) {
    let own = create(
        &app,
        "slow",
        &["rewards:read"],
        json!({"rateLimit": {"burst": 2, "perMinute": 60}}),
    )
    .await;
    let other = secret(&app, "shop", &["rewards:read"]).await;
    let process = app.replica(&[
        ("limits.service_key.burst", "3"),
        ("limits.service_key.per_minute", "60"),
    ]);
    let get = async |key: &str| process.get("/rewards").bearer(key).send().await;
    let key = text(&own, "secret");
    assert_eq!(get(key).await.header("ratelimit-policy"), "\"service-key\";q=2;w=2");
    get(key).await.expect(200);
    get(key).await.expect_problem(429, "rate-limited");
    assert_eq!(get(&other).await.header("ratelimit-policy"), "\"service-key\";q=3;w=3");
}

/// A well-formed key.
fn of_another_server(number: u128) -> String {
    let body = [number.to_be_bytes().as_slice(), &[7; 20]].concat();
    let checksum = digest::digest(&digest::SHA256, &body);
    format!("meed_sk_{}{}", hex::encode(&body), hex::encode(&checksum.as_ref()[..4]))
}

/// Otherwise everyone could make the server read the database once per request, without a limit.
#[apply(on_both_engines)]
async fn unknown_keys_of_a_network_stop_costing_reads(app: TestApp) {
    let known = secret(&app, "shop", &["rewards:read"]).await;
    let fresh = app.replica(&[]);
    for number in 0..60 {
        assert!(!is_accepted(&fresh, &of_another_server(number)).await);
    }
    assert!(
        !is_accepted(&fresh, &known).await,
        "the network has sent too many unknown keys"
    );
    app.at("2026-03-01T12:01:00Z");
    assert!(is_accepted(&fresh, &known).await);
}
