//! A real OpenID provider for one test: npm `oidc-provider`, by the script beside this file.
//!
//! `cargo xtask test` sets `MEED_TEST_CLIENT_TOOLS` to a folder that has it. Without it the tests fail; they are not skipped.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use meed_host::clock::{Clock, Timestamp};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, Url, redirect};
use serde_json::{Value, json};

use super::redis::free_port;

const PATIENCE: Duration = Duration::from_secs(30);
/// 43 characters, the fewest that PKCE allows.
const VERIFIER: &str = "0123456789012345678901234567890123456789012";
/// The SHA-256 of it.
const CHALLENGE: &str = "_RpfHqw8pAZIomzVUE7sjRmHSM543WVdC4o-Kc4_3C0";

/// The `aud` of the access tokens.
pub const AUDIENCE: &str = "https://meed.example.com";
pub const CLIENT_SECRET: &str = "a secret: with/every+thing&else=%25";
pub const CALLBACK: &str = "https://meed.example.com/auth/oidc/callback";

pub struct OidcProvider {
    port: u16,
    process: Child,
    commands: Mutex<(ChildStdin, Receiver<Value>)>,
}

impl Drop for OidcProvider {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl OidcProvider {
    /// With these accounts: for each `sub` its further claims.
    pub fn start(accounts: &Value) -> Self {
        let modules = std::env::var("MEED_TEST_CLIENT_TOOLS").expect(
            "MEED_TEST_CLIENT_TOOLS is not set: run the tests with `cargo xtask test`, which installs oidc-provider",
        );
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/oidc.mjs");
        let port = free_port();
        let mut process = Command::new("node")
            .arg(script)
            .args([modules, port.to_string(), accounts.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the provider starts");
        let stdout = process.stdout.take().expect("a pipe");
        let (send, printed) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The library prints warnings, too.
                if let Ok(reply) = serde_json::from_str(&line)
                    && send.send(reply).is_err()
                {
                    break;
                }
            }
        });
        let ready: Value = printed.recv_timeout(PATIENCE).expect("it starts");
        assert_eq!(ready, json!({"ready": true}));
        let stdin = process.stdin.take().expect("a pipe");
        Self {
            port,
            process,
            commands: Mutex::new((stdin, printed)),
        }
    }

    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Runs a command of the script.
    pub fn command(&self, command: &Value) -> Value {
        let mut commands = self.commands.lock().expect("no panic");
        writeln!(commands.0, "{command}").expect("it takes commands");
        commands.1.recv_timeout(PATIENCE).expect("a reply")
    }

    /// The claims of a good access token of this account.
    pub fn claims(&self, sub: &str, now: Timestamp) -> Value {
        let now = now.as_millis() / 1000;
        json!({"iss": self.issuer(), "aud": AUDIENCE, "sub": sub, "iat": now, "exp": now + 600})
    }

    /// A token that is signed with the provider's key, or by `other`, `public` or `nobody`.
    pub fn signed(&self, by: &str, header: &Value, claims: &Value) -> String {
        let reply = self.command(&json!({"do": "sign", "by": by, "header": header, "claims": claims}));
        reply["token"].as_str().expect("a token").to_owned()
    }

    /// A good access token with further claims.
    pub fn token(&self, sub: &str, now: Timestamp, further: &Value) -> String {
        let mut claims = self.claims(sub, now);
        let further = further.as_object().expect("an object").clone();
        claims.as_object_mut().expect("an object").extend(further);
        self.signed("current", &json!({}), &claims)
    }

    /// How often its keys were fetched.
    pub fn key_fetches(&self) -> u64 {
        self.command(&json!({"do": "fetches"}))["keys"]
            .as_u64()
            .expect("a number")
    }

    /// Goes through the provider's login as a browser does, and returns the address that leads back to the client.
    pub async fn visit(&self, location: &str) -> Url {
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().build();
        let client = client.expect("a client");
        let mut cookies: BTreeMap<String, String> = BTreeMap::new();
        let mut at: Url = location.parse().expect("a URL");
        while at.port() == Some(self.port) {
            let pairs: Vec<_> = cookies
                .iter()
                .map(|(name, content)| format!("{name}={content}"))
                .collect();
            let response = client.get(at.clone()).header(COOKIE, pairs.join("; ")).send().await;
            let response = response.expect("the provider answers");
            for line in response.headers().get_all(SET_COOKIE) {
                let pair = line.to_str().expect("text").split(';').next().expect("a pair");
                let (name, content) = pair.split_once('=').expect("a cookie");
                cookies.insert(name.to_owned(), content.to_owned());
            }
            let Some(next) = response.headers().get(LOCATION) else {
                panic!("{at}: {}", response.text().await.expect("a body"));
            };
            at = at.join(next.to_str().expect("text")).expect("a URL");
        }
        at
    }

    /// An access token that the provider itself issues to its client `game` for this account. It is valid now, by the system
    /// clock.
    pub async fn issued(&self, account: &str) -> String {
        let done = "https://game.example.com/done";
        let mut location: Url = format!("{}/auth", self.issuer()).parse().expect("a URL");
        location.query_pairs_mut().extend_pairs([
            ("client_id", "game"),
            ("response_type", "code"),
            ("redirect_uri", done),
            ("scope", "openid play"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("login_hint", account),
        ]);
        let back = self.visit(location.as_str()).await;
        let code = query(&back, "code").expect("a code");
        let mut form: Url = format!("{}/token", self.issuer()).parse().expect("a URL");
        form.query_pairs_mut().extend_pairs([
            ("client_id", "game"),
            ("grant_type", "authorization_code"),
            ("redirect_uri", done),
            ("code_verifier", VERIFIER),
            ("code", &code),
        ]);
        let body = form.query().expect("a form").to_owned();
        form.set_query(None);
        let request = Client::builder().no_proxy().build().expect("a client").post(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let tokens: Value = request
            .body(body)
            .send()
            .await
            .expect("tokens")
            .json()
            .await
            .expect("JSON");
        tokens["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{tokens}"))
            .to_owned()
    }
}

/// A parameter of a URL.
pub fn query(url: &Url, name: &str) -> Option<String> {
    let mut pairs = url.query_pairs();
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, content)| content.into_owned())
}

/// The time of the system, which the provider's own tokens have.
pub fn system_now() -> Timestamp {
    Clock::System.now()
}
