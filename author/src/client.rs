//! An API client for the commands that use a server. Responses are typed; a problem becomes an error with its details.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Longer than a server takes to compile a plugin with a language runtime.
const ANSWER_WITHIN: Duration = Duration::from_mins(10);
/// The maximum size of a response, which can be a module.
const LARGEST_ANSWER: usize = 64 << 20;

/// The server and the access token.
#[derive(Debug, Args)]
pub(super) struct Server {
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
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
}

/// An error response of the server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
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
    pub(super) fn client(&self) -> anyhow::Result<Client> {
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
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> anyhow::Result<T> {
        let (_, bytes) = self.send(self.http.get(self.at(path))).await?;
        serde_json::from_slice(&bytes).with_context(|| format!("unexpected response from {}", self.at(path)))
    }

    /// Gets the bytes at this path.
    pub(super) async fn download(&self, path: &[&str]) -> anyhow::Result<Vec<u8>> {
        Ok(self.send(self.http.get(self.at(path))).await?.1)
    }

    /// Uploads a module. Returns the status and the JSON of the response.
    pub(super) async fn upload<T: DeserializeOwned>(
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

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let response = request.send().await.with_context(|| format!("ask {}", self.url))?;
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
