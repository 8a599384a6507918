//! An API client for the commands that use a server. Responses are typed; a problem becomes an error with its details.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Longer than a server takes to compile a plugin with a language runtime.
const ANSWER_WITHIN: Duration = Duration::from_mins(10);
/// The largest sum of the times that the server asks to wait before one request.
const MOST_WAITING: Duration = Duration::from_mins(5);
/// The largest page that the server returns.
const PAGE_SIZE: &str = "200";
/// The maximum size of a response, which can be a module.
const LARGEST_ANSWER: usize = 64 << 20;

/// The server and the access token.
#[derive(Debug, Args)]
pub struct Server {
    /// The URL of the server, such as `https://rewards.example.com`
    #[arg(long = "server", value_name = "URL", env = "MEED_SERVER")]
    url: Option<Url>,
    /// A file with an access token, instead of the environment variable MEED_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Only an environment variable, because other users can read a command line.
    #[arg(long, env = "MEED_TOKEN", hide = true, hide_env_values = true)]
    token: Option<String>,
    /// Allow http to another machine, although the network can then read the token
    #[arg(long)]
    insecure: bool,
}

/// A client for one server and one account.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    url: Url,
}

/// An error response of the server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    title: String,
    status: u16,
    code: String,
    detail: String,
    /// The refusal code of an upload.
    #[serde(rename = "refusal")]
    gate_code: Option<String>,
    #[serde(default)]
    errors: Vec<Fault>,
    request_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    pointer: String,
    message: String,
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// The stable code of the problem.
    pub fn code(&self) -> &str {
        &self.code
    }
}

/// One page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    items: Vec<Value>,
    next_page_token: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "the server refused the request: {} ({} {})",
            self.title, self.status, self.code
        )?;
        if let Some(code) = &self.gate_code {
            writeln!(f, "  {code}")?;
        }
        write!(f, "  {}", self.detail)?;
        for fault in &self.errors {
            write!(f, "\n  at {:?}: {}", fault.pointer, fault.message)?;
        }
        if let Some(id) = &self.request_id {
            write!(f, "\n  request {id}")?;
        }
        Ok(())
    }
}

impl Server {
    pub fn client(&self) -> anyhow::Result<Client> {
        let url = self
            .url
            .clone()
            .context("no server given: use --server or the environment variable MEED_SERVER")?;
        ensure!(
            matches!(url.scheme(), "http" | "https"),
            "--server {url}: must begin with https:// or http://"
        );
        ensure!(
            url.scheme() == "https" || self.insecure || is_this_machine(&url),
            "--server {url}: with http, the network can read the token; use https, or --insecure"
        );
        let token = match &self.token_file {
            Some(path) => std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?,
            None => self
                .token
                .clone()
                .context("no access token given: set MEED_TOKEN, or use --token-file")?,
        };
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .context("the access token contains invalid characters")?;
        authorization.set_sensitive(true);
        let http = reqwest::Client::builder()
            .user_agent(concat!("meed/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, authorization)]))
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            // Do not follow redirects, because the token is only for this server.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("set up HTTP")?;
        Ok(Client { http, url })
    }
}

impl Client {
    /// Gets the JSON at this path.
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> anyhow::Result<T> {
        let (_, bytes) = self.send(self.http.get(self.at(path))).await?;
        serde_json::from_slice(&bytes).with_context(|| format!("unexpected response from {}", self.at(path)))
    }

    /// Gets the bytes at this path.
    pub async fn download(&self, path: &[&str]) -> anyhow::Result<Vec<u8>> {
        Ok(self.send(self.http.get(self.at(path))).await?.1)
    }

    /// All items of the list at this path, which is read in pages.
    pub async fn list(&self, path: &[&str]) -> anyhow::Result<Vec<Value>> {
        self.list_where(path, &[]).await
    }

    /// The same with filters, such as `("eventId", …)`.
    pub async fn list_where(&self, path: &[&str], filters: &[(&str, &str)]) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut url = self.at(path);
            url.query_pairs_mut()
                .extend_pairs(filters)
                .append_pair("pageSize", PAGE_SIZE);
            if let Some(token) = &token {
                url.query_pairs_mut().append_pair("pageToken", token);
            }
            let (_, bytes) = self.send(self.http.get(url)).await?;
            let page: Page = serde_json::from_slice(&bytes)
                .with_context(|| format!("unexpected response from {}", self.at(path)))?;
            items.extend(page.items);
            match page.next_page_token {
                Some(next) if token.as_ref() != Some(&next) => token = Some(next),
                Some(_) => anyhow::bail!("the list {} does not end", self.at(path)),
                None => return Ok(items),
            }
        }
    }

    /// The first item of the list at this path; null if there is none.
    pub async fn first(&self, path: &[&str]) -> anyhow::Result<Value> {
        let mut url = self.at(path);
        url.query_pairs_mut().append_pair("pageSize", "1");
        let (_, bytes) = self.send(self.http.get(url)).await?;
        let page: Page =
            serde_json::from_slice(&bytes).with_context(|| format!("unexpected response from {}", self.at(path)))?;
        Ok(page.items.into_iter().next().unwrap_or_default())
    }

    /// Changes what is at this path. `revision` is the one that the change is based on. Returns the JSON of the response, which
    /// may be empty.
    pub async fn write(
        &self,
        method: Method,
        path: &[&str],
        revision: Option<i64>,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let mut request = self.http.request(method, self.at(path));
        if let Some(revision) = revision {
            request = request.header(IF_MATCH, format!("\"{revision}\""));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let (_, bytes) = self.send(request).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).with_context(|| format!("unexpected response from {}", self.at(path)))
    }

    /// Uploads a module. Returns the status and the JSON of the response.
    pub async fn upload<T: DeserializeOwned>(
        &self,
        path: &[&str],
        module: Vec<u8>,
        headers: HeaderMap,
    ) -> anyhow::Result<(StatusCode, T)> {
        let request = self
            .http
            .post(self.at(path))
            .header(CONTENT_TYPE, "application/wasm")
            .headers(headers)
            .body(module);
        let (status, bytes) = self.send(request).await?;
        let answer =
            serde_json::from_slice(&bytes).with_context(|| format!("unexpected response from {}", self.at(path)))?;
        Ok((status, answer))
    }

    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        // An http URL always has a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Sends a request, and again when the server asks to wait. No other failure is tried again: whether the server acted is
    /// unknown then.
    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let mut waited = Duration::ZERO;
        let response = loop {
            let again = request.try_clone().context("a request that cannot be repeated")?;
            let response = again.send().await.with_context(|| format!("ask {}", self.url))?;
            let Some(wait) = wait_of(&response).filter(|wait| waited + *wait <= MOST_WAITING) else {
                break response;
            };
            waited += wait;
            tokio::time::sleep(wait).await;
        };
        let status = response.status();
        let bytes = read(response).await.with_context(|| format!("ask {}", self.url))?;
        if status.is_success() {
            return Ok((status, bytes));
        }
        if let Ok(refusal) = serde_json::from_slice::<Refusal>(&bytes) {
            return Err(refusal.into());
        }
        anyhow::bail!(
            "{} returned {status}, but not in Meed's format: is --server correct?",
            self.url
        )
    }
}

/// How long the server asks to wait: only where it says that it did nothing yet.
fn wait_of(response: &Response) -> Option<Duration> {
    if ![StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&response.status()) {
        return None;
    }
    let seconds: u64 = response
        .headers()
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds.max(1)))
}

async fn read(mut response: Response) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        ensure!(
            bytes.len() <= LARGEST_ANSWER,
            "the response has more than {LARGEST_ANSWER} bytes"
        );
    }
    Ok(bytes)
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str, insecure: bool) -> anyhow::Result<Client> {
        let server = Server {
            url: Some(url.parse().unwrap()),
            token_file: None,
            token: Some("token".to_owned()),
            insecure,
        };
        server.client()
    }

    #[test]
    fn a_token_is_sent_over_http_only_to_this_machine() {
        for url in [
            "https://rewards.example.com",
            "http://127.0.0.1:3000",
            "http://127.9.9.9",
            "http://localhost:3000",
            "http://[::1]:3000",
        ] {
            assert!(client(url, false).is_ok(), "{url}");
        }
        for url in [
            "http://rewards.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "http://[::2]:3000",
            "ftp://localhost",
        ] {
            let error = client(url, false).unwrap_err().to_string();
            assert!(error.contains("--server"), "{url}: {error}");
        }
        assert!(client("http://10.0.0.1", true).is_ok());
    }

    #[test]
    fn a_name_is_one_segment_of_the_path() {
        let client = client("https://example.com/meed/", false).unwrap();
        let url = client.at(&["plugins", "a/../b?c", "versions", "1.0.0+x"]);
        assert_eq!(
            url.as_str(),
            "https://example.com/meed/plugins/a%2F..%2Fb%3Fc/versions/1.0.0+x"
        );
    }
}
