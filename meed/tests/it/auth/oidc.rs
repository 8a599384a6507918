//! `/auth/oidc`: staff log in with a real provider

use meed_host::auth::Role;
use meed_host::config::Oidc;
use reqwest::Url;
use rstest_reuse::apply;
use serde_json::{Value, json};

use super::{activities, login, me, set_disabled, text};
use crate::support::oidc::{CALLBACK, CLIENT_SECRET, query, system_now};
use crate::support::{OidcProvider, PASSWORD, Reply, TestApp, TestUser, on_both_engines};

const COOKIE: &str = "__Host-meed-oidc";

fn provider() -> OidcProvider {
    OidcProvider::start(&json!({
        "ada": {"groups": ["ops"]},
        "root": {"groups": ["everyone", "root"]},
        "eve": {"groups": ["players"]},
    }))
}

/// The same database with this provider, at the time of the system: the provider's tokens have it.
fn with(app: &TestApp, provider: &OidcProvider, change: impl FnOnce(&mut meed_host::config::Auth)) -> TestApp {
    app.clock.set(system_now());
    let table = format!(
        "issuer = {:?}\nclient_id = \"meed\"\nclient_secret = {CLIENT_SECRET:?}\nclient_secret_file = \"\"\n\
         redirect_url = {CALLBACK:?}\nscopes = \"profile\"\nalgorithms = [\"RS256\"]\nexternal_id_prefix = \"staff:\"\n\
         roles_claim = \"groups\"\nroles = {{ ops = \"OPERATOR\", root = \"ADMIN\", audit = \"AUDITOR\" }}\n\
         counts_as_second_factor = false\nleeway_seconds = 30\nkeys_valid_seconds = 3600",
        provider.issuer()
    );
    let oidc: Oidc = toml::from_str(&table).expect("the settings");
    app.replica_with(|config, _| {
        config.auth.oidc = oidc;
        change(&mut config.auth);
    })
}

/// A browser at the provider.
struct Browser {
    cookie: String,
    /// Where the provider sent it.
    back: Url,
}

impl Browser {
    /// Begins a login, and logs in at the provider.
    async fn log_in(app: &TestApp, provider: &OidcProvider, account: &str) -> Self {
        let reply = app.get("/auth/oidc/login").send().await;
        assert_eq!(reply.status, 303);
        let set = reply.header("set-cookie").to_owned();
        let (pair, attributes) = set.split_once(';').expect("a cookie");
        assert_eq!(attributes, " Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax");
        let location = format!("{}&login_hint={account}", reply.header("location"));
        let back = provider.visit(&location).await;
        assert!(back.as_str().starts_with(CALLBACK), "{back}");
        let cookie = pair.to_owned();
        Self { cookie, back }
    }

    fn parameter(&self, name: &str) -> String {
        query(&self.back, name).unwrap_or_else(|| panic!("no {name} in {}", self.back))
    }

    /// Follows the provider's redirect.
    async fn return_to(&self, app: &TestApp) -> Reply {
        call_back(app, Some(&self.cookie), self.back.query().expect("a query")).await
    }
}

async fn call_back(app: &TestApp, cookie: Option<&str>, query: &str) -> Reply {
    let call = app.get(&format!("/auth/oidc/callback?{query}"));
    match cookie {
        Some(cookie) => call.header("cookie", &format!("theme=dark; {cookie}")).send().await,
        None => call.send().await,
    }
}

/// The access token of a login.
async fn staff(app: &TestApp, provider: &OidcProvider, account: &str) -> String {
    let reply = Browser::log_in(app, provider, account).await.return_to(app).await;
    text(&reply.expect(200), "accessToken").to_owned()
}

#[apply(on_both_engines)]
async fn staff_log_in_with_their_provider(app: TestApp) {
    let provider = provider();
    let app = with(&app, &provider, |_| ());
    let browser = Browser::log_in(&app, &provider, "root").await;
    let reply = browser.return_to(&app).await;
    assert_eq!(
        reply.header("set-cookie"),
        format!("{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax")
    );
    assert_eq!(reply.header("cache-control"), "no-store");
    let pair = reply.expect(200);
    let token = text(&pair, "accessToken");
    let user = me(&app, token).await.expect(200);
    assert_eq!(
        (&user["role"], &user["externalId"]),
        (&json!("ADMIN"), &json!("staff:root"))
    );
    assert_eq!(user["email"], Value::Null);
    let kinds: Vec<_> = activities(&app)
        .await
        .into_iter()
        .filter(|(_, id, _)| *id == user["id"])
        .collect();
    assert_eq!(kinds.len(), 1, "{kinds:?}");
    assert_eq!(kinds[0].0, "auth.login");
    // It is an ordinary session, and a recent proof of identity.
    let sessions = app.get("/users/me/sessions").bearer(token).send().await.expect(200);
    assert_eq!(sessions["items"].as_array().map(Vec::len), Some(1));
    let refreshed = super::refresh(&app, text(&pair, "refreshToken")).await.expect(200);
    let other = app.user(Role::User).await;
    let change = app
        .patch(&format!("/users/{}", other.id))
        .bearer(text(&refreshed, "accessToken"));
    change.json(&json!({"role": "OPERATOR"})).send().await.expect(200);
    let path = format!("/audit?target={}", text(&user, "id"));
    let entries = app.get(&path).bearer(token).send().await.expect(200);
    let login = entries["items"]
        .as_array()
        .expect("entries")
        .iter()
        .find(|entry| entry["changes"]["identityProvider"]["new"] == json!(provider.issuer()));
    let login = login.unwrap_or_else(|| panic!("no entry of the login: {entries:#}"));
    assert_eq!(
        (&login["action"], &login["outcome"]),
        (&json!("GET /auth/oidc/callback"), &json!("DONE"))
    );
    assert!(login["changes"]["session"]["new"].is_string());
    assert!(!entries.to_string().contains(&browser.parameter("code")));
    app.post("/auth/logout").bearer(token).send().await.expect(204);
    me(&app, token).await.expect_problem(401, "invalid-token");
}

#[apply(on_both_engines)]
async fn the_provider_decides_the_role_at_each_login(app: TestApp) {
    let provider = provider();
    let admin = app.user(Role::Admin).await;
    let app = with(&app, &provider, |_| ());
    let before = staff(&app, &provider, "ada").await;
    let user = me(&app, &before).await.expect(200);
    assert_eq!(user["role"], "OPERATOR");
    provider.command(&json!({"do": "accounts", "accounts": {"ada": {"groups": ["audit"]}}}));
    me(&app, &before).await.expect(200);
    let after = staff(&app, &provider, "ada").await;
    assert_eq!(me(&app, &after).await.expect(200)["role"], "AUDITOR");
    // The change ends the sessions in the old role.
    me(&app, &before).await.expect_problem(401, "invalid-token");
    // Without a group the account cannot log in; a session that is open ends by itself.
    for (account, groups) in [
        ("ada", json!(["players"])),
        ("eve", json!(["ADMIN"])),
        ("eve", json!({"root": true})),
    ] {
        provider.command(&json!({"do": "accounts", "accounts": {account: {"groups": groups}}}));
        let reply = Browser::log_in(&app, &provider, account).await.return_to(&app).await;
        reply.expect_problem(403, "no-mapped-role");
    }
    me(&app, &after).await.expect(200);
    // The account without a role was not created.
    let token = app.login(&admin.email, PASSWORD).await;
    let all = app
        .get("/users?pageSize=200")
        .bearer(text(&token, "accessToken"))
        .send()
        .await
        .expect(200);
    let external: Vec<_> = all["items"]
        .as_array()
        .expect("users")
        .iter()
        .filter_map(|user| user["externalId"].as_str())
        .collect();
    assert_eq!(external, ["staff:ada"]);
}

#[apply(on_both_engines)]
async fn the_last_admin_stays(app: TestApp) {
    let provider = provider();
    let app = with(&app, &provider, |_| ());
    let token = staff(&app, &provider, "root").await;
    provider.command(&json!({"do": "accounts", "accounts": {"root": {"groups": ["ops"]}}}));
    let reply = Browser::log_in(&app, &provider, "root").await.return_to(&app).await;
    reply.expect_problem(409, "last-admin");
    assert_eq!(me(&app, &token).await.expect(200)["role"], "ADMIN");
}

#[apply(on_both_engines)]
async fn a_disabled_account_cannot_log_in(app: TestApp) {
    let provider = provider();
    let app = with(&app, &provider, |_| ());
    let admin = app.user(Role::Admin).await;
    let token = staff(&app, &provider, "ada").await;
    let id = text(&me(&app, &token).await.expect(200), "id").to_owned();
    let user = TestUser { id, ..admin.clone() };
    set_disabled(&app, &admin.token, &user, true).await;
    provider.command(&json!({"do": "accounts", "accounts": {"ada": {"groups": ["root"]}}}));
    let reply = Browser::log_in(&app, &provider, "ada").await.return_to(&app).await;
    reply.expect_problem(401, "oidc-login-failed");
    set_disabled(&app, &admin.token, &user, false).await;
    let token = staff(&app, &provider, "ada").await;
    assert_eq!(me(&app, &token).await.expect(200)["role"], "ADMIN");
}

#[tokio::test]
async fn only_the_browser_that_began_a_login_completes_it() {
    let app = TestApp::on_sqlite().await;
    let provider = provider();
    let app = with(&app, &provider, |_| ());
    let [mine, other] = [
        Browser::log_in(&app, &provider, "ada").await,
        Browser::log_in(&app, &provider, "root").await,
    ];
    let refused = async |cookie: Option<&str>, query: &str| {
        let reply = call_back(&app, cookie, query).await;
        assert!(reply.header("set-cookie").is_empty());
        reply.expect_problem(401, "oidc-login-failed")
    };
    let query = mine.back.query().expect("a query");
    let (code, state, iss) = (mine.parameter("code"), mine.parameter("state"), mine.parameter("iss"));
    // Another browser, and one without a login.
    refused(Some(&other.cookie), query).await;
    refused(None, query).await;
    refused(Some(&format!("{COOKIE}=")), query).await;
    refused(Some(&format!("{}; {}", mine.cookie, other.cookie)), query).await;
    // A forged state, or none.
    refused(Some(&mine.cookie), &format!("code={code}&iss={iss}")).await;
    refused(Some(&mine.cookie), &format!("code={code}&iss={iss}&state=")).await;
    refused(
        Some(&mine.cookie),
        &format!("code={code}&iss={iss}&state={}", other.parameter("state")),
    )
    .await;
    // A response of another provider, or without a code.
    refused(
        Some(&mine.cookie),
        &format!("code={code}&state={state}&iss=https://evil.example.com"),
    )
    .await;
    refused(Some(&mine.cookie), &format!("code={code}&state={state}")).await;
    refused(Some(&mine.cookie), &format!("state={state}&iss={iss}")).await;
    let problem = refused(
        Some(&mine.cookie),
        &format!("error=access_denied&state={state}&iss={iss}"),
    )
    .await;
    assert!(text(&problem, "detail").contains("refused"), "{problem:#}");
    // A code of another login, or one that was never issued: the verifier and the nonce are not those of it.
    for code in [&other.parameter("code"), "made-up", &"x".repeat(5000)] {
        refused(Some(&mine.cookie), &format!("code={code}&state={state}&iss={iss}")).await;
    }
    mine.return_to(&app).await.expect(200);
    // A code is redeemed once. The provider also revokes what the first use gave, which Meed's session does not depend on.
    refused(Some(&mine.cookie), query).await;
    // The other browser is not affected by the attempts.
    other.return_to(&app).await.expect(200);
    // Ten minutes are over.
    let late = Browser::log_in(&app, &provider, "ada").await;
    app.clock.set(app.clock.now().plus(std::time::Duration::from_mins(10)));
    refused(Some(&late.cookie), late.back.query().expect("a query")).await;
    // Each refusal is in the audit log.
    let entries = app
        .get("/audit?action=GET%20/auth/oidc/callback&outcome=REFUSED")
        .bearer(&app.auditor().await);
    let entries = entries.send().await.expect(200);
    assert!(!entries["items"].as_array().expect("entries").is_empty());
}

#[tokio::test]
async fn a_login_asks_for_a_code_with_pkce() {
    let app = TestApp::on_sqlite().await;
    let provider = provider();
    let app = with(&app, &provider, |_| ());
    let begin = async || {
        let reply = app.get("/auth/oidc/login").send().await;
        reply.header("location").parse::<Url>().expect("a URL")
    };
    let [first, second] = [begin().await, begin().await];
    assert!(
        first.as_str().starts_with(&format!("{}/auth?", provider.issuer())),
        "{first}"
    );
    for (name, expected) in [
        ("response_type", "code"),
        ("client_id", "meed"),
        ("redirect_uri", CALLBACK),
        ("scope", "openid profile"),
        ("code_challenge_method", "S256"),
        ("max_age", "900"),
    ] {
        assert_eq!(query(&first, name).as_deref(), Some(expected), "{name}");
    }
    for name in ["state", "nonce", "code_challenge"] {
        let values = [&first, &second].map(|url| query(url, name).expect(name));
        assert_eq!(values[0].len(), 43, "{name}");
        assert_ne!(values[0], values[1], "{name}");
    }
}

#[tokio::test]
async fn a_login_counts_as_a_second_factor_only_if_the_operator_says_so() {
    let app = TestApp::on_sqlite().await;
    let provider = provider();
    let strict = with(&app, &provider, |auth| auth.require_totp = true);
    let token = staff(&strict, &provider, "ada").await;
    strict
        .get("/events")
        .bearer(&token)
        .send()
        .await
        .expect_problem(403, "totp-required");
    // Its user can set one up.
    strict
        .post("/users/me/totp")
        .bearer(&token)
        .json(&json!({}))
        .send()
        .await
        .expect(201);
    let trusting = with(&app, &provider, |auth| {
        auth.require_totp = true;
        auth.oidc.counts_as_second_factor = true;
    });
    let token = staff(&trusting, &provider, "ada").await;
    trusting.get("/events").bearer(&token).send().await.expect(200);
}

#[tokio::test]
async fn a_local_admin_logs_in_while_the_provider_is_down() {
    let app = TestApp::on_sqlite().await;
    let provider = provider();
    let app = with(&app, &provider, |_| ());
    let admin = app.user(Role::Admin).await;
    let begun = Browser::log_in(&app, &provider, "ada").await;
    provider.command(&json!({"do": "stop"}));
    begun
        .return_to(&app)
        .await
        .expect_problem(503, "identity-provider-unavailable");
    app.clock.set(app.clock.now().plus(std::time::Duration::from_hours(1)));
    let reply = app.get("/auth/oidc/login").send().await;
    reply.expect_problem(503, "identity-provider-unavailable");
    login(&app, &admin.email, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_server_without_a_provider_says_so() {
    let app = TestApp::on_sqlite().await;
    for path in ["/auth/oidc/login", "/auth/oidc/callback?code=a&state=b"] {
        app.get(path).send().await.expect_problem(404, "oidc-not-configured");
    }
}

#[apply(on_both_engines)]
async fn a_login_for_the_console_ends_in_a_cookie_without_tokens(app: TestApp) {
    let provider = provider();
    let app = with(&app, &provider, |_| ());
    let mut landed = Vec::new();
    for account in ["root", "eve"] {
        let begun = app.get("/auth/oidc/login?console=true").send().await;
        assert_eq!(begun.status, 303);
        let cookies: Vec<_> = begun.headers.get_all("set-cookie").iter().collect();
        let pairs = cookies.iter().filter_map(|line| line.to_str().ok()?.split(';').next());
        let cookie = pairs.collect::<Vec<_>>().join("; ");
        let location = format!("{}&login_hint={account}", begun.header("location"));
        let back = provider.visit(&location).await;
        let reply = call_back(&app, Some(&cookie), back.query().expect("a query")).await;
        assert_eq!((reply.status.as_u16(), reply.bytes.len()), (303, 0));
        landed.push(reply);
    }
    let [root, eve] = &landed[..] else { unreachable!() };
    assert_eq!(root.header("location"), "/console/");
    let session = root.header("set-cookie").split(';').next().expect("a pair").to_owned();
    assert!(session.starts_with("__Host-meed-session="), "{session}");
    let user = app.get("/users/me").header("cookie", &session).send().await.expect(200);
    assert_eq!(user["role"], "ADMIN");
    // A person without a role gets the problem, and no session.
    assert_eq!(eve.header("location"), "/console/?problem=no-mapped-role");
    assert!(!eve.header("set-cookie").contains("meed-session"));
}
