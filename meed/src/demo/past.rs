//! A server of the past: the whole API with a clock that the demo sets, and clients that call it.
//!
//! The demo's history is made by the same requests that a shop and its staff send, so it is what a real one would be.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::people::Account;
use meed_host::app::App;
use meed_host::clock::{Clock, Timestamp};
use meed_host::config::Config;
use meed_host::db::Db;
use meed_host::http::connections::Limits;
use meed_host::http::server;

pub(super) const DAY: Duration = Duration::from_hours(24);

pub(super) struct Past {
    pub app: App,
    pub clock: Clock,
    pub now: Timestamp,
    http: reqwest::Client,
    url: String,
    _serving: DropGuard,
}

impl Past {
    /// Serves on a free port of this machine until it is dropped. Its clock begins at `now`.
    pub(super) async fn open(config: &Config, db: &Db) -> anyhow::Result<Self> {
        let now = Clock::System.now();
        let clock = Clock::fixed(now);
        let config = of_the_past(config)?;
        let executable = std::env::current_exe().context("find this executable")?;
        let app = App::new(&config, db.clone(), clock.clone(), executable)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("listen on a free port to create the demo data")?;
        let address = listener.local_addr().context("ask for the address")?;
        let stop = CancellationToken::new();
        let limits = Limits::new(&config.http, &config.streams);
        tokio::spawn(server::serve(
            listener,
            app.router(),
            limits,
            stop.clone().cancelled_owned(),
        ));
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .context("set up HTTP to create the demo data")?;
        Ok(Self {
            app,
            clock,
            now,
            http,
            url: format!("http://{address}"),
            _serving: stop.drop_guard(),
        })
    }

    /// Sets the clock to this time before now.
    pub(super) fn ago(&self, time: Duration) {
        self.clock.set(self.now.minus(time));
    }

    /// A client with a new session of this account. Its token is valid for minutes of the clock.
    pub(super) async fn log_in(&self, (_, email, password): Account) -> anyhow::Result<Caller<'_>> {
        let body = json!({"email": email, "password": password});
        let tokens = self.caller(String::new()).post("/auth/login", &body).await?;
        let token = tokens["accessToken"].as_str().context("a login has an access token")?;
        Ok(self.caller(token.to_owned()))
    }

    pub(super) fn caller(&self, token: String) -> Caller<'_> {
        Caller { past: self, token }
    }
}

/// With a clock that stands still, a rate limit would never permit more; and the receiver of the demo's webhooks is on this
/// machine and gets three attempts at once.
fn of_the_past(config: &Config) -> anyhow::Result<Config> {
    let mut config = config.clone();
    let limits = &mut config.limits;
    for limit in [
        &mut limits.credentials,
        &mut limits.account,
        &mut limits.anonymous,
        &mut limits.user,
        &mut limits.service_key,
    ] {
        limit.burst = 0;
    }
    config.webhooks.retries = vec![Duration::ZERO; 2];
    config.webhooks.private_networks = vec!["127.0.0.0/8".parse().context("the network of this machine")?];
    Ok(config)
}

/// A person or program with a token. Empty: none yet.
pub(super) struct Caller<'a> {
    past: &'a Past,
    token: String,
}

impl Caller<'_> {
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.succeed(Method::GET, path, |request| request).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.succeed(Method::POST, path, |request| request.json(body)).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.succeed(Method::PUT, path, |request| request.json(body)).await
    }

    /// Uploads a plugin.
    pub(super) async fn upload(&self, module: &'static [u8]) -> anyhow::Result<Value> {
        let with_module = |request: RequestBuilder| request.header(CONTENT_TYPE, "application/wasm").body(module);
        self.succeed(Method::POST, "/plugins", with_module).await
    }

    /// The status and the JSON of the response, which may be a problem.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let what = || format!("{method} {path} for the demo data");
        let request = self
            .past
            .http
            .request(method.clone(), format!("{}{path}", self.past.url));
        let request = if self.token.is_empty() {
            request
        } else {
            request.bearer_auth(&self.token)
        };
        let response = with(request).send().await.with_context(what)?;
        let status = response.status();
        let body = response.bytes().await.with_context(what)?;
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).with_context(what)?
        };
        Ok((status, body))
    }

    async fn succeed(
        &self,
        method: Method,
        path: &str,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> anyhow::Result<Value> {
        let (status, body) = self.ask(method.clone(), path, with).await?;
        ensure!(
            status.is_success(),
            "{method} {path} for the demo data was answered with {status}: {body}"
        );
        Ok(body)
    }
}

/// The id in a response.
pub(super) fn id(body: &Value) -> anyhow::Result<Uuid> {
    let text = body["id"].as_str().with_context(|| format!("no id in {body}"))?;
    text.parse().with_context(|| format!("{text:?} is no id"))
}
