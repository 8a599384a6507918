//! Rate limits: shared by replicas through Redis, local to each replica without Redis, and always enforced

use meed_host::auth::Role;
use rstest_reuse::apply;
use serde_json::json;

use super::two;
use crate::support::{PASSWORD, RedisServer, Reply, TestApp, TestUser, is_shared, on_both_engines, text};

/// Four attempts at once, then one per six seconds.
const CREDENTIALS: &[(&str, &str)] = &[
    ("limits.credentials.burst", "4"),
    ("limits.credentials.per_minute", "10"),
];

async fn try_password(app: &TestApp, email: &str, password: &str) -> Reply {
    let body = json!({"email": email, "password": password});
    app.post("/auth/login").json(&body).send().await
}

/// The number of attempts that were processed; the others were rate limited.
async fn attempts_checked(app: &TestApp, attempts: usize) -> usize {
    let mut attempts_checked = 0;
    for _ in 0..attempts {
        let reply = try_password(app, "nobody@example.com", PASSWORD).await;
        if reply.status == 401 {
            attempts_checked += 1;
        } else {
            assert!(
                reply
                    .header("retry-after")
                    .parse::<u32>()
                    .is_ok_and(|seconds| seconds > 0)
            );
            reply.expect_problem(429, "rate-limited");
        }
    }
    attempts_checked
}

#[apply(on_both_engines)]
async fn responses_report_the_state_of_the_limit(app: TestApp) {
    let process = app.replica(CREDENTIALS);
    let reply = try_password(&process, "nobody@example.com", PASSWORD).await;
    assert_eq!(reply.header("ratelimit-policy"), "\"credentials\";q=4;w=24");
    assert_eq!(reply.header("ratelimit"), "\"credentials\";r=3;t=6");
    reply.expect_problem(401, "wrong-credentials");
    assert_eq!(attempts_checked(&process, 5).await, 3);
    let reply = process.post("/auth/register").json(&json!({})).send().await;
    assert_eq!(reply.header("ratelimit"), "\"credentials\";r=0;t=24");
    assert_eq!(reply.header("retry-after"), "6");
    reply.expect_problem(429, "rate-limited");
    app.at("2026-03-01T12:00:06Z");
    assert_eq!(attempts_checked(&process, 5).await, 1);
}

#[apply(on_both_engines)]
async fn a_customer_with_many_ipv6_networks_is_one_client(app: TestApp) {
    let process = app.replica(&[
        ("limits.credentials.burst", "1"),
        ("limits.credentials.per_minute", "1"),
        ("http.trusted_proxies", "127.0.0.1"),
    ]);
    let (url, client) = (process.listen().await, reqwest::Client::new());
    let is_processed = async |address: String| {
        let call = client.post(format!("{url}/auth/register")).json(&json!({}));
        let reply = call
            .header("x-forwarded-for", &address)
            .send()
            .await
            .expect("an answer");
        assert!(
            [422, 429].contains(&reply.status().as_u16()),
            "{address}: {}",
            reply.status()
        );
        reply.status() == 422
    };
    // A /64 has one request, a /56 four, a /48 sixteen.
    for (subnet, expected) in [(0, 4), (1, 4), (2, 4), (3, 4), (4, 0)] {
        let mut processed = 0;
        for link in 0..6 {
            processed += usize::from(is_processed(format!("2001:db8:1:{subnet:x}{link:02x}::1")).await);
        }
        assert_eq!(processed, expected, "/56 number {subnet}");
    }
    assert!(is_processed("2001:db8:2::1".to_owned()).await);
    assert!(is_processed("192.0.2.1".to_owned()).await);
}

#[apply(on_both_engines)]
async fn health_checks_and_public_keys_are_never_limited(app: TestApp) {
    let settings = ["user", "anonymous"].map(|name| (format!("limits.{name}.burst"), "1"));
    let settings: Vec<_> = settings.iter().map(|(name, burst)| (name.as_str(), *burst)).collect();
    let process = app.replica(&settings);
    for path in [
        "/livez",
        "/readyz",
        "/.well-known/jwks.json",
        "/.well-known/receipt-keys.json",
    ] {
        for _ in 0..3 {
            let reply = process.get(path).send().await;
            assert_eq!((reply.status.as_u16(), reply.header("ratelimit")), (200, ""), "{path}");
        }
    }
}

#[apply(on_both_engines)]
async fn the_limit_of_a_user_affects_no_other_user(app: TestApp) {
    let settings = [
        ("limits.user.burst", "2"),
        ("limits.user.per_minute", "60"),
        ("limits.anonymous.burst", "3"),
        ("limits.anonymous.per_minute", "60"),
    ];
    let (_redis, here, there) = two(&app, &settings).await;
    let (greedy, other) = (app.token(Role::User).await, app.token(Role::User).await);
    let me = |process: &TestApp, token: &str| process.get("/users/me").bearer(token).send();
    assert_eq!(me(&here, &greedy).await.header("ratelimit"), "\"user\";r=1;t=1");
    assert_eq!(me(&there, &greedy).await.header("ratelimit"), "\"user\";r=0;t=2");
    for process in [&here, &there] {
        me(process, &greedy).await.expect_problem(429, "rate-limited");
    }
    me(&here, &other).await.expect(200);
    // Requests without a valid token are limited by address; here all have the same address.
    for process in [&here, &there, &here] {
        me(process, "no token").await.expect_problem(401, "invalid-token");
    }
    let refresh = there
        .post("/auth/refresh")
        .json(&json!({"refreshToken": "x"}))
        .send()
        .await;
    assert_eq!(refresh.header("ratelimit-policy"), "\"anonymous\";q=3;w=3");
    refresh.expect_problem(429, "rate-limited");
    app.at("2026-03-01T12:00:01Z");
    me(&there, &greedy).await.expect(200);
    me(&here, &greedy).await.expect_problem(429, "rate-limited");
}

#[apply(on_both_engines)]
async fn login_attempts_on_an_account_are_limited_across_addresses(app: TestApp) {
    let settings = [("limits.account.burst", "3"), ("limits.account.per_minute", "10")];
    let (_redis, here, there) = two(&app, &settings).await;
    let user = app.user(Role::User).await;
    for process in [&here, &there, &here] {
        try_password(process, &user.email, "a wrong password")
            .await
            .expect_problem(401, "wrong-credentials");
    }
    // Upper and lower case name the same account.
    let email = user.email.to_uppercase();
    let reply = try_password(&there, &email, user.password).await;
    assert_eq!(reply.header("retry-after"), "6");
    reply.expect_problem(429, "rate-limited");
    // The owner's session continues, and the owner can log in again soon.
    there.get("/users/me").bearer(&user.token).send().await.expect(200);
    there
        .post("/auth/refresh")
        .json(&json!({"refreshToken": user.refresh_token}))
        .send()
        .await
        .expect(200);
    try_password(&here, "another@example.com", PASSWORD)
        .await
        .expect_problem(401, "wrong-credentials");
    app.at("2026-03-01T12:00:06Z");
    try_password(&there, &email, user.password).await.expect(200);
}

/// The token of a known device is a MAC, so replicas and restarts keep it.
#[apply(on_both_engines)]
async fn an_attacker_does_not_lock_out_a_known_device(app: TestApp) {
    let settings = [("limits.account.burst", "2"), ("limits.account.per_minute", "1")];
    let (_redis, here, there) = two(&app, &settings).await;
    let (user, other) = (app.user(Role::User).await, app.user(Role::User).await);
    let token = async |user: &TestUser| {
        let login = try_password(&app, &user.email, user.password).await.expect(200);
        text(&login, "deviceToken").to_owned()
    };
    let (known, of_other) = (token(&user).await, token(&other).await);
    for _ in 0..2 {
        try_password(&here, &user.email, "a wrong password")
            .await
            .expect_problem(401, "wrong-credentials");
    }
    let from = async |password: &str, device: &str| {
        let body = json!({"email": user.email, "password": password, "deviceToken": device});
        there.post("/auth/login").json(&body).send().await
    };
    // An unknown device, another user's device and a forged token share the account's limit.
    let forged: String = known.chars().rev().collect();
    for device in ["", "x", &of_other, &forged] {
        from(user.password, device).await.expect_problem(429, "rate-limited");
    }
    let login = from(user.password, &known).await.expect(200);
    assert_ne!(text(&login, "deviceToken"), known, "each login begins a new device");
    // A stolen token does not allow guessing the password: this device has one attempt left.
    from("a wrong password", &known)
        .await
        .expect_problem(401, "wrong-credentials");
    from(user.password, &known).await.expect_problem(429, "rate-limited");
    // The session proves who its user is, so its limit is its own as well.
    let body = json!({"password": user.password});
    let step_up = there.post("/auth/step-up").bearer(&user.token).json(&body).send().await;
    step_up.expect(200);
    // After half a year the device is unknown again.
    app.at("2026-10-01T12:00:00Z");
    for _ in 0..2 {
        try_password(&here, &user.email, "a wrong password")
            .await
            .expect_problem(401, "wrong-credentials");
    }
    from(user.password, text(&login, "deviceToken"))
        .await
        .expect_problem(429, "rate-limited");
}

#[apply(on_both_engines)]
async fn replicas_share_a_limit(app: TestApp) {
    let (_redis, here, there) = two(&app, CREDENTIALS).await;
    assert_eq!(
        (
            attempts_checked(&here, 3).await,
            attempts_checked(&there, 3).await,
            attempts_checked(&here, 1).await
        ),
        (3, 1, 0)
    );
}

#[apply(on_both_engines)]
async fn without_redis_each_replica_limits_by_itself(app: TestApp) {
    let (mut redis, here, there) = two(&app, CREDENTIALS).await;
    assert_eq!(attempts_checked(&here, 3).await, 3);
    redis.kill();
    assert_eq!(
        (attempts_checked(&here, 5).await, attempts_checked(&there, 6).await),
        (1, 4)
    );
    redis.restart().await;
    for process in [&here, &there] {
        is_shared(process, true).await;
        assert_eq!(
            attempts_checked(process, 3).await,
            0,
            "the new Redis knows nothing, the process does"
        );
    }
}

#[apply(on_both_engines)]
async fn an_unresponsive_redis_lifts_no_limit_and_costs_little_time(app: TestApp) {
    let (redis, here, there) = two(&app, CREDENTIALS).await;
    redis.pause();
    let started = std::time::Instant::now();
    assert_eq!(
        (attempts_checked(&here, 20).await, attempts_checked(&there, 20).await),
        (4, 4)
    );
    assert!(
        started.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    redis.resume();
    is_shared(&here, true).await;
    assert_eq!(attempts_checked(&here, 5).await, 0);
}

#[apply(on_both_engines)]
async fn a_forged_bucket_lifts_no_limit_and_blocks_for_one_window_at_most(app: TestApp) {
    let (redis, here, there) = two(&app, CREDENTIALS).await;
    assert_eq!(attempts_checked(&here, 1).await, 1);
    let names = redis.names("meed:limit:").await;
    let [name] = names.as_slice() else { panic!("{names:?}") };
    let mut opened = 0;
    for lie in ["", "garbage", "nan", "-1", "0", "1e3"] {
        () = redis.ask("SET", &[name.as_bytes(), lie.as_bytes()]).await;
        opened += attempts_checked(&here, 2).await;
    }
    assert_eq!(opened, 3, "the local bucket still limits after a flush of Redis");
    () = redis.ask("FLUSHALL", &[]).await;
    assert_eq!(attempts_checked(&here, 9).await, 0);
    // A bucket that would be full again in a thousand years.
    for lie in ["9e16", "inf", "1e300"] {
        () = redis.ask("SET", &[name.as_bytes(), lie.as_bytes()]).await;
        assert_eq!(attempts_checked(&there, 2).await, 0, "{lie}");
    }
    () = redis.ask("SET", &[name.as_bytes(), b"1772366424000000"]).await;
    app.at("2026-03-01T12:00:24Z");
    assert_eq!(attempts_checked(&there, 9).await, 4);
    let _: u64 = redis.ask("DEL", &[name.as_bytes()]).await;
    let _: u64 = redis.ask("LPUSH", &[name.as_bytes(), b"no text"]).await;
    app.at("2026-03-01T13:00:00Z");
    assert_eq!(
        (attempts_checked(&here, 9).await, attempts_checked(&there, 9).await),
        (4, 4)
    );
}

#[apply(on_both_engines)]
async fn a_client_behind_a_proxy_is_limited_by_its_own_address(app: TestApp) {
    let settings = |proxies: &'static str| [CREDENTIALS, &[("http.trusted_proxies", proxies)]].concat();
    let client = reqwest::Client::new();
    let attempt = async |address: &str, forwarded: &str| {
        let body = json!({"email": "nobody@example.com", "password": PASSWORD}).to_string();
        let request = client
            .post(format!("{address}/auth/login"))
            .header("content-type", "application/json");
        let reply = request
            .header("x-forwarded-for", forwarded.to_owned())
            .body(body)
            .send()
            .await;
        reply.expect("an answer").status().as_u16()
    };
    let (behind, open) = (app.replica(&settings("127.0.0.0/8")), app.replica(&settings("")));
    let (behind, open) = (behind.listen().await, open.listen().await);
    for number in 0..4 {
        let invented = format!("192.0.2.{number}, 198.51.100.7");
        assert_eq!(
            (attempt(&behind, &invented).await, attempt(&open, &invented).await),
            (401, 401)
        );
    }
    assert_eq!(attempt(&behind, "192.0.2.99, 198.51.100.7").await, 429);
    assert_eq!(attempt(&behind, "198.51.100.8").await, 401);
    assert_eq!(attempt(&open, "198.51.100.8").await, 429, "the peer is the client");
}

#[tokio::test]
async fn an_unreachable_redis_does_not_delay_the_start() {
    let app = TestApp::on_sqlite().await;
    let mut gone = RedisServer::start().await;
    gone.kill();
    let url = gone.url();
    let process = app.replica(&[CREDENTIALS, &[("cache.url", &url)]].concat());
    assert_eq!(attempts_checked(&process, 9).await, 4);
}

#[test]
fn an_invalid_url_is_rejected_without_showing_its_password() {
    for url in [
        "http://user:secret@127.0.0.1",
        "secret",
        "redis-cluster://user:secret@",
        "redis://user:secret@h/x",
    ] {
        let url = secrecy::SecretString::from(url);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let _entered = runtime.enter();
        let error = meed_host::cache::Cache::new(&url, &[0; 32])
            .expect_err("no such URL")
            .to_string();
        assert!(error.starts_with("cache.url: ") && !error.contains("secret"), "{error}");
    }
}
