//! Tokens of trusted issuers, against a real provider

use std::time::{Duration, Instant};

use meed_host::auth::Role;
use meed_host::config::TrustedIssuer;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{me, set_disabled, text};
use crate::support::oidc::{AUDIENCE, system_now};
use crate::support::{OidcProvider, Reply, TestApp, TestUser, on_both_engines};

/// The same database, with these issuers. Each is the TOML of its table.
fn trusting(app: &TestApp, issuers: &[String]) -> TestApp {
    let issuers: Vec<TrustedIssuer> = issuers
        .iter()
        .map(|text| toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")))
        .collect();
    app.replica_with(|config, _| config.auth.trusted_issuers = issuers)
}

fn issuer(provider: &OidcProvider, further: &str) -> String {
    format!("issuer = {:?}\naudience = {AUDIENCE:?}\n{further}", provider.issuer())
}

const ROLES: &str = "roles_claim = \"groups\"\nroles = { ops = \"OPERATOR\", root = \"ADMIN\", audit = \"AUDITOR\" }\n";

fn ada() -> OidcProvider {
    OidcProvider::start(&json!({"ada": {"level": 7, "groups": ["players"]}}))
}

#[track_caller]
fn assert_invalid(reply: Reply) {
    reply.expect_problem(401, "invalid-token");
}

async fn users(app: &TestApp, admin: &TestUser) -> usize {
    let page = app
        .get("/users?role=USER")
        .bearer(&admin.token)
        .send()
        .await
        .expect(200);
    page["items"].as_array().expect("items").len()
}

#[apply(on_both_engines)]
async fn the_first_token_of_a_user_creates_the_user(app: TestApp) {
    let provider = ada();
    app.clock.set(system_now());
    let admin = app.user(Role::Admin).await;
    let app = trusting(
        &app,
        &[issuer(
            &provider,
            "external_id_prefix = \"game:\"\nattributes = { level = \"level\" }",
        )],
    );
    let token = provider.issued("ada").await;
    let user = me(&app, &token).await.expect(200);
    assert_eq!(user["externalId"], "game:ada");
    assert_eq!(user["role"], "USER");
    assert_eq!(user["email"], Value::Null);
    assert_eq!(user["attributes"], json!({"level": "7"}));
    // Another token is of the same user, and so is the same token for another process.
    let again = provider.issued("ada").await;
    assert_eq!(me(&app, &again).await.expect(200)["id"], user["id"]);
    let replica = trusting(&app, &[issuer(&provider, "external_id_prefix = \"game:\"")]);
    assert_eq!(me(&replica, &token).await.expect(200)["id"], user["id"]);
    assert_eq!(users(&app, &admin).await, 1);
    // The user does what users do.
    app.get("/events/active").bearer(&token).send().await.expect(200);
    app.get("/events")
        .bearer(&token)
        .send()
        .await
        .expect_problem(403, "forbidden");
    let target = format!("/audit?target={}", text(&user, "id"));
    let entries = app.get(&target).bearer(&app.auditor().await).send().await.expect(200);
    let entries = entries["items"].as_array().expect("entries");
    assert_eq!(entries.len(), 1, "{entries:#?}");
    assert_eq!(entries[0]["action"], "trusted-issuer");
    assert_eq!(entries[0]["changes"]["role"], json!({"old": null, "new": "USER"}));
}

#[apply(on_both_engines)]
async fn concurrent_first_tokens_create_one_user(app: TestApp) {
    let provider = ada();
    let admin = app.user(Role::Admin).await;
    let apps = [(); 4].map(|()| trusting(&app, &[issuer(&provider, "attributes = { level = \"level\" }")]));
    let token = provider.token("ada", app.clock.now(), &json!({"level": 7}));
    let calls = apps.iter().map(|app| me(app, &token));
    let replies = futures_util::future::join_all(calls).await;
    let found: Vec<Value> = replies
        .into_iter()
        .map(|reply| reply.expect(200)["id"].clone())
        .collect();
    assert!(found.iter().all(|id| *id == found[0]), "{found:?}");
    assert_eq!(users(&app, &admin).await, 1);
}

#[tokio::test]
async fn a_token_that_is_not_for_this_server_is_refused() {
    let app = TestApp::on_sqlite().await;
    let provider = ada();
    let admin = app.user(Role::Admin).await;
    let app = trusting(&app, &[issuer(&provider, "algorithms = [\"RS256\"]")]);
    let good = provider.claims("ada", app.clock.now());
    let now = app.clock.now().as_millis() / 1000;
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(name);
        claims
    };
    for (by, header, claims) in [
        ("current", json!({}), with("exp", json!(now - 30))),
        ("current", json!({}), with("exp", json!("never"))),
        ("current", json!({}), without("exp")),
        ("current", json!({}), with("nbf", json!(now + 31))),
        ("current", json!({}), with("iat", json!(now + 31))),
        ("current", json!({}), with("aud", json!("https://other.example.com"))),
        ("current", json!({}), with("aud", json!(["https://other.example.com"]))),
        ("current", json!({}), with("aud", json!({AUDIENCE: true}))),
        ("current", json!({}), without("aud")),
        ("current", json!({}), with("iss", json!("https://other.example.com"))),
        (
            "current",
            json!({}),
            with("iss", json!(format!("{}/", provider.issuer()))),
        ),
        ("current", json!({}), with("iss", json!([provider.issuer()]))),
        ("current", json!({}), without("iss")),
        ("current", json!({}), without("sub")),
        ("current", json!({}), with("sub", json!(""))),
        ("current", json!({}), with("sub", json!("x".repeat(256)))),
        ("current", json!({}), with("sub", json!("a\u{200b}da"))),
        ("current", json!({}), with("cnf", json!({"jkt": "x"}))),
        ("current", json!({}), with("more", json!("x".repeat(20_000)))),
        ("current", json!({"typ": "logout+jwt"}), good.clone()),
        ("current", json!({"typ": "dpop+jwt"}), good.clone()),
        ("current", json!({"crit": ["exp2"], "exp2": 1}), good.clone()),
        ("current", json!({"kid": "unknown"}), good.clone()),
        ("current", json!({"alg": "PS256"}), good.clone()),
        ("other", json!({}), good.clone()),
        ("other", json!({"kid": null}), good.clone()),
        ("nobody", json!({"alg": "none"}), good.clone()),
        ("nobody", json!({}), good.clone()),
        ("public", json!({"alg": "HS256"}), good.clone()),
        ("public", json!({}), good.clone()),
    ] {
        let token = provider.signed(by, &header, &claims);
        let reply = me(&app, &token).await;
        assert_eq!(reply.json["code"], "invalid-token", "{by} {header} {claims}");
        assert_eq!(reply.status, 401);
        // Even where no token is needed, it opens nothing.
        assert_invalid(app.get("/users").bearer(&token).send().await);
    }
    // Parts of a good token, in another one.
    let token = provider.signed("current", &json!({}), &good);
    let other = provider.token("eve", app.clock.now(), &json!({}));
    let [mine, theirs] = [&token, &other].map(|token| token.split('.').collect::<Vec<_>>());
    for parts in [[mine[0], theirs[1], mine[2]], [mine[0], mine[1], theirs[2]]] {
        assert_invalid(me(&app, &parts.join(".")).await);
    }
    for cut in [
        &token[..token.len() - 1],
        &token[1..],
        &format!("{token}x"),
        &format!("{token}."),
        "..",
        "a.b.c",
    ] {
        assert_invalid(me(&app, cut).await);
    }
    assert_eq!(users(&app, &admin).await, 0);
    me(&app, &token).await.expect(200);
    // A server that does not trust the issuer.
    assert_invalid(me(&app.replica(&[]), &token).await);
}

#[tokio::test]
async fn clocks_may_differ_by_the_leeway() {
    let app = TestApp::on_sqlite().await;
    let provider = ada();
    let app = trusting(&app, &[issuer(&provider, "")]);
    let now = app.clock.now().as_millis() / 1000;
    for further in [
        json!({"exp": now - 29}),
        json!({"nbf": now + 30}),
        json!({"iat": now + 30}),
        json!({"exp": f64::from(u32::try_from(now).expect("seconds")) + 0.5}),
        json!({"aud": ["https://other.example.com", AUDIENCE]}),
    ] {
        me(&app, &provider.token("ada", app.clock.now(), &further))
            .await
            .expect(200);
    }
    for typ in [json!(null), json!("JWT"), json!("application/at+jwt"), json!("AT+JWT")] {
        let claims = provider.claims("ada", app.clock.now());
        me(&app, &provider.signed("current", &json!({"typ": typ}), &claims))
            .await
            .expect(200);
    }
    // A remembered token expires, too.
    let token = provider.token("ada", app.clock.now(), &json!({}));
    me(&app, &token).await.expect(200);
    app.at("2026-03-01T12:10:29.999Z");
    me(&app, &token).await.expect(200);
    app.at("2026-03-01T12:10:30Z");
    assert_invalid(me(&app, &token).await);
    // A clock that was set back.
    app.at("2026-03-01T11:59:30Z");
    me(&app, &token).await.expect(200);
    app.at("2026-03-01T11:59:29Z");
    assert_invalid(me(&app, &token).await);
    // Without leeway.
    let strict = trusting(&app, &[issuer(&provider, "leeway_seconds = 0")]);
    app.at("2026-03-01T12:09:59.999Z");
    me(&strict, &token).await.expect(200);
    app.at("2026-03-01T12:10:00Z");
    assert_invalid(me(&strict, &token).await);
}

#[tokio::test]
async fn a_new_key_is_fetched_once_and_a_withdrawn_one_is_refused() {
    let app = TestApp::on_sqlite().await;
    let provider = ada();
    let app = trusting(&app, &[issuer(&provider, "")]);
    let old = provider.token("ada", app.clock.now(), &json!({}));
    me(&app, &old).await.expect(200);
    assert_eq!(provider.key_fetches(), 1);
    provider.command(&json!({"do": "rotate", "keep": true}));
    let new = provider.token("ada", app.clock.now(), &json!({}));
    // The keys were fetched a moment ago.
    assert_invalid(me(&app, &new).await);
    app.at("2026-03-01T12:00:10Z");
    me(&app, &new).await.expect(200);
    me(&app, &old).await.expect(200);
    assert_eq!(provider.key_fetches(), 2);
    // A client that makes up key ids causes one fetch in ten seconds.
    for kid in 0..50 {
        let claims = provider.claims("ada", app.clock.now());
        let forged = provider.signed("other", &json!({"kid": format!("kid-{kid}")}), &claims);
        assert_invalid(me(&app, &forged).await);
        if kid == 25 {
            app.at("2026-03-01T12:00:20Z");
        }
    }
    assert_eq!(provider.key_fetches(), 3);
    // The background task notices the withdrawal of the old key.
    provider.command(&json!({"do": "rotate", "keep": false}));
    app.at("2026-03-01T12:05:19Z");
    app.app.issuers.refresh_keys().await;
    me(&app, &old).await.expect(200);
    app.at("2026-03-01T12:05:20Z");
    app.app.issuers.refresh_keys().await;
    assert_invalid(me(&app, &old).await);
    assert_invalid(me(&app, &new).await);
    me(&app, &provider.token("ada", app.clock.now(), &json!({})))
        .await
        .expect(200);
}

/// The provider gives another key the id of the old one, and tokens without an id.
#[tokio::test]
async fn a_remembered_token_needs_the_very_key_that_signed_it() {
    let app = TestApp::on_sqlite().await;
    let provider = ada();
    let file = app.directory().join("keys.json");
    let published = provider.command(&json!({"do": "keys"}));
    std::fs::write(&file, published.to_string()).expect("a file");
    let app = trusting(
        &app,
        &[issuer(&provider, &format!("jwks = {:?}", file.display().to_string()))],
    );
    let claims = provider.claims("ada", app.clock.now());
    let tokens = [json!({}), json!({"kid": null})].map(|header| provider.signed("current", &header, &claims));
    for token in &tokens {
        me(&app, token).await.expect(200);
    }
    let id = published["keys"][0]["kid"].clone();
    provider.command(&json!({"do": "rotate", "keep": false}));
    let mut replaced = provider.command(&json!({"do": "keys"}));
    replaced["keys"][0]["kid"] = id;
    std::fs::write(&file, replaced.to_string()).expect("a file");
    app.at("2026-03-01T12:05:00Z");
    app.app.issuers.refresh_keys().await;
    for token in &tokens {
        assert_invalid(me(&app, token).await);
    }
    me(&app, &provider.signed("current", &json!({"kid": null}), &claims))
        .await
        .expect(200);
}

#[tokio::test]
async fn cached_keys_outlive_the_provider_for_a_time() {
    let app = TestApp::on_sqlite().await;
    let provider = ada();
    let app = trusting(&app, &[issuer(&provider, "keys_valid_seconds = 3600")]);
    let token = provider.token("ada", app.clock.now(), &json!({"exp": 4_000_000_000_u64}));
    provider.command(&json!({"do": "stop"}));
    let never_reached = trusting(&app, &[issuer(&provider, "")]);
    let begun = Instant::now();
    let reply = me(&never_reached, &token).await;
    assert!(reply.headers.contains_key("retry-after"));
    reply.expect_problem(503, "identity-provider-unavailable");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    provider.command(&json!({"do": "start"}));
    me(&app, &token).await.expect(200);
    provider.command(&json!({"do": "stop"}));
    for instant in ["2026-03-01T12:05:00Z", "2026-03-01T12:59:59Z"] {
        app.at(instant);
        app.app.issuers.refresh_keys().await;
        me(&app, &token).await.expect(200);
        let other = provider.token("bob", app.clock.now(), &json!({}));
        me(&app, &other).await.expect(200);
        // A key that is not cached may be a new one, which the server cannot tell now.
        let claims = provider.claims("ada", app.clock.now());
        let unknown = provider.signed("other", &json!({"kid": "new"}), &claims);
        let reply = me(&app, &unknown).await;
        assert!(reply.headers.contains_key("retry-after"));
        reply.expect_problem(503, "identity-provider-unavailable");
    }
    app.at("2026-03-01T13:00:00Z");
    me(&app, &token)
        .await
        .expect_problem(503, "identity-provider-unavailable");
    // Others are not affected.
    let user = app.user(Role::User).await;
    me(&app, &user.token).await.expect(200);
    provider.command(&json!({"do": "start"}));
    app.at("2026-03-01T13:00:10Z");
    me(&app, &token).await.expect(200);
}

#[tokio::test]
async fn a_provider_that_hangs_blocks_no_request_for_long() {
    let app = TestApp::on_sqlite().await;
    let provider = ada();
    // Accepts connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("jwks = \"http://{}/jwks\"", silent.local_addr().expect("an address"));
    let app = trusting(&app, &[issuer(&provider, &url)]);
    let token = provider.token("ada", app.clock.now(), &json!({}));
    let begun = Instant::now();
    let replies = futures_util::future::join_all((0..20).map(|_| me(&app, &token))).await;
    for reply in replies {
        reply.expect_problem(503, "identity-provider-unavailable");
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    // Nor do many requests: most of them are refused at once.
    app.at("2026-03-01T12:00:10Z");
    let first = async |call| {
        me(&app, &token)
            .await
            .expect_problem(503, "identity-provider-unavailable");
        call
    };
    let mut calls: Vec<_> = (0..200).map(|call| Box::pin(first(call))).collect();
    let begun = Instant::now();
    for _ in 0..136 {
        let (_, _, rest) = futures_util::future::select_all(calls).await;
        calls = rest;
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    futures_util::future::join_all(calls).await;
}

#[apply(on_both_engines)]
async fn attributes_and_roles_follow_the_newest_token(app: TestApp) {
    let provider = ada();
    let admin = app.user(Role::Admin).await;
    let mapped = format!("{ROLES}attributes = {{ level = \"level\", region = \"/profile/region\" }}");
    let app = trusting(&app, &[issuer(&provider, &mapped)]);
    let first = json!({"level": 7, "profile": {"region": "KR"}, "groups": ["ops", "else"]});
    let first = provider.token("ada", app.clock.now(), &first);
    let user = me(&app, &first).await.expect(200);
    assert_eq!(
        (&user["role"], &user["attributes"]),
        (&json!("OPERATOR"), &json!({"level": "7", "region": "KR"}))
    );
    app.get("/events").bearer(&first).send().await.expect(200);
    app.get("/events/active")
        .bearer(&first)
        .send()
        .await
        .expect_problem(403, "forbidden");
    // What others set stays; a claim that is not there changes nothing.
    let path = format!("/users/{}/attributes", text(&user, "id"));
    let call = app
        .put(&path)
        .bearer(&admin.token)
        .json(&json!({"level": 7, "region": "KR", "beta": true}));
    call.send().await.expect(200);
    app.at("2026-03-01T12:00:01Z");
    let second = provider.token("ada", app.clock.now(), &json!({"level": 8, "groups": "audit"}));
    let user = me(&app, &second).await.expect(200);
    assert_eq!(user["role"], "AUDITOR");
    assert_eq!(
        user["attributes"],
        json!({"level": "8", "region": "KR", "beta": "true"})
    );
    // The older token gives its role and its attributes no more.
    assert_invalid(me(&app, &first).await);
    assert_invalid(app.get("/events").bearer(&first).send().await);
    assert_eq!(me(&app, &second).await.expect(200)["attributes"]["level"], "8");
    app.at("2026-03-01T12:00:02Z");
    let third = provider.token("ada", app.clock.now(), &json!({"groups": ["OPERATOR", "ADMIN"]}));
    assert_eq!(me(&app, &third).await.expect(200)["role"], "USER");
    assert_invalid(me(&app, &second).await);
    let token = app.auditor().await;
    let entries = app
        .get(&format!("/audit?target={}", text(&user, "id")))
        .bearer(&token)
        .send()
        .await
        .expect(200);
    let roles: Vec<_> = entries["items"]
        .as_array()
        .expect("entries")
        .iter()
        .filter_map(|entry| entry["changes"].get("role"))
        .collect();
    assert_eq!(
        json!(roles),
        json!([{"old": "AUDITOR", "new": "USER"}, {"old": "OPERATOR", "new": "AUDITOR"}, {"old": null, "new": "OPERATOR"}])
    );
}

#[apply(on_both_engines)]
async fn an_issuer_without_a_mapping_speaks_for_no_staff(app: TestApp) {
    let provider = ada();
    let admin = app.user(Role::Admin).await;
    let app = trusting(&app, &[issuer(&provider, "")]);
    let token = provider.token("ada", app.clock.now(), &json!({"groups": ["root"], "role": "ADMIN"}));
    let user = me(&app, &token).await.expect(200);
    assert_eq!(user["role"], "USER");
    let path = format!("/users/{}", text(&user, "id"));
    let change = app.patch(&path).bearer(&admin.token).json(&json!({"role": "OPERATOR"}));
    change.send().await.expect(200);
    assert_invalid(me(&app, &token).await);
    assert_invalid(me(&app, &provider.token("ada", app.clock.now(), &json!({}))).await);
}

#[apply(on_both_engines)]
async fn a_disabled_user_is_refused_at_once(app: TestApp) {
    let provider = ada();
    let admin = app.user(Role::Admin).await;
    let table = [issuer(&provider, ROLES)];
    let (app, replica) = (trusting(&app, &table), trusting(&app, &table));
    let token = provider.token("ada", app.clock.now(), &json!({"groups": ["ops"]}));
    let id = text(&me(&app, &token).await.expect(200), "id").to_owned();
    me(&replica, &token).await.expect(200);
    let user = TestUser { id, ..admin.clone() };
    set_disabled(&app, &admin.token, &user, true).await;
    assert_invalid(me(&app, &token).await);
    app.at("2026-03-01T12:00:02Z");
    assert_invalid(me(&replica, &token).await);
    // Neither a new token nor another role enables it.
    let new = provider.token("ada", app.clock.now(), &json!({"groups": ["root"]}));
    assert_invalid(me(&app, &new).await);
    set_disabled(&app, &admin.token, &user, false).await;
    me(&app, &token).await.expect(200);
}

#[apply(on_both_engines)]
async fn two_issuers_name_two_users(app: TestApp) {
    let (provider, other) = (ada(), "https://other.example.com");
    let keys = app.directory().join("other.json");
    std::fs::write(&keys, provider.command(&json!({"do": "keys"})).to_string()).expect("a file");
    let file = format!(
        "issuer = {other:?}\naudience = \"shop\"\njwks = {:?}\nexternal_id_prefix = \"shop:\"",
        keys.display().to_string()
    );
    let url = format!("external_id_prefix = \"game:\"\njwks = \"{}/jwks\"", provider.issuer());
    let app = trusting(&app, &[issuer(&provider, &url), file]);
    let game = provider.token("ada", app.clock.now(), &json!({}));
    let shop = provider.token("ada", app.clock.now(), &json!({"iss": other, "aud": "shop"}));
    let (game, shop) = (me(&app, &game).await.expect(200), me(&app, &shop).await.expect(200));
    assert_eq!([&game["externalId"], &shop["externalId"]], ["game:ada", "shop:ada"]);
    assert_ne!(game["id"], shop["id"]);
    // An issuer's audience is not the other's.
    assert_invalid(me(&app, &provider.token("ada", app.clock.now(), &json!({"aud": "shop"}))).await);
}

#[apply(on_both_engines)]
async fn a_server_can_leave_the_creation_of_users_to_others(app: TestApp) {
    let provider = ada();
    let admin = app.user(Role::Admin).await;
    let app = trusting(
        &app,
        &[issuer(
            &provider,
            "create_users = false\nexternal_id_claim = \"customer\"",
        )],
    );
    let token = provider.token("ada", app.clock.now(), &json!({"customer": 1047}));
    assert_invalid(me(&app, &token).await);
    app.put("/users/external/1047")
        .bearer(&admin.token)
        .json(&json!({}))
        .send()
        .await
        .expect(201);
    assert_eq!(me(&app, &token).await.expect(200)["externalId"], "1047");
}

#[tokio::test]
async fn a_user_of_an_issuer_has_no_session() {
    let app = TestApp::on_sqlite().await;
    let provider = ada();
    let app = trusting(&app, &[issuer(&provider, ROLES)]);
    let player = provider.token("ada", app.clock.now(), &json!({}));
    let root = provider.token("root", app.clock.now(), &json!({"groups": ["root"]}));
    for (method, path, body) in [
        ("POST", "/auth/logout", json!({})),
        ("GET", "/users/me/sessions", json!({})),
        ("DELETE", "/users/me/sessions", json!({})),
        (
            "DELETE",
            "/users/me/sessions/0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77",
            json!({}),
        ),
        (
            "PUT",
            "/users/me/password",
            json!({"oldPassword": "an old password", "newPassword": "a new password"}),
        ),
        ("POST", "/auth/step-up", json!({"password": "a password"})),
        ("POST", "/users/me/totp", json!({})),
        ("DELETE", "/users/me/totp", json!({})),
    ] {
        for token in [&player, &root] {
            let reply = app.call(method, path).bearer(token).json(&body).send().await;
            let problem = reply.expect_problem(403, "forbidden");
            assert!(
                text(&problem, "detail").contains("at this server"),
                "{method} {path}: {problem:#}"
            );
        }
    }
    // What needs a proof of identity.
    let change = app.patch("/users/0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77").bearer(&root);
    let problem = change
        .json(&json!({"role": "ADMIN"}))
        .send()
        .await
        .expect_problem(403, "forbidden");
    assert!(text(&problem, "detail").contains("at this server"), "{problem:#}");
}

#[tokio::test]
async fn staff_of_an_issuer_need_a_second_factor_unless_it_counts() {
    let app = TestApp::on_sqlite().await;
    let provider = ada();
    let with = |further: &str| {
        let table = toml::from_str(&issuer(&provider, &format!("{ROLES}{further}"))).expect("a table");
        app.replica_with(|config, _| {
            config.auth.require_totp = true;
            config.auth.trusted_issuers = vec![table];
        })
    };
    let token = provider.token("ada", app.clock.now(), &json!({"groups": ["ops"]}));
    let player = provider.token("bob", app.clock.now(), &json!({}));
    let needs = with("");
    needs
        .get("/events")
        .bearer(&token)
        .send()
        .await
        .expect_problem(403, "totp-required");
    needs.get("/events/active").bearer(&player).send().await.expect(200);
    with("counts_as_second_factor = true")
        .get("/events")
        .bearer(&token)
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn a_provider_cannot_speak_for_another_issuer() {
    let app = TestApp::on_sqlite().await;
    let provider = ada();
    // Another name of the same address, so the document names another issuer.
    let name = provider.issuer().replace("127.0.0.1", "localhost");
    let table = format!("issuer = {name:?}\naudience = {AUDIENCE:?}");
    let app = trusting(&app, &[table]);
    let token = provider.token("ada", app.clock.now(), &json!({"iss": name}));
    me(&app, &token)
        .await
        .expect_problem(503, "identity-provider-unavailable");
}
