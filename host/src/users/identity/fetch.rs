//! Requests to identity providers: bounded in time and size, without redirects, encrypted except on this machine.
//!
//! The settings name the providers, so their addresses may be private. Must not know: what is fetched.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use reqwest::{Client, RequestBuilder, Url, redirect};
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt as _;

/// A request may wait for this, so it is short.
const TIMEOUT: Duration = Duration::from_secs(2);
const MAX_BYTES: usize = 256 * 1024;

#[derive(Clone, Debug)]
pub(in crate::users) struct Fetcher(Client);

/// Why there is no usable response.
#[derive(Clone, Debug)]
pub(in crate::users) struct Failed {
    /// The status, if the provider answered; then `reason` is its answer.
    pub status: Option<u16>,
    pub reason: String,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status {
            Some(status) => write!(f, "answered {status}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl From<String> for Failed {
    fn from(reason: String) -> Self {
        Self { status: None, reason }
    }
}

impl Fetcher {
    pub(in crate::users) fn new() -> reqwest::Result<Self> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(TIMEOUT)
            .build();
        client.map(Self)
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, url: &Url) -> Result<T, Failed> {
        self.send(self.0.get(url.clone())).await
    }

    /// Posts a form, authenticated as this client (RFC 6749, section 2.3.1).
    pub(in crate::users) async fn post_form<T: DeserializeOwned>(
        &self,
        url: &Url,
        (id, secret): (&str, &str),
        form: &[(&str, &str)],
    ) -> Result<T, Failed> {
        let request = self.0.post(url.clone()).basic_auth(encode(id), Some(encode(secret)));
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(encode_form(form))).await
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failed> {
        let request = request.header(ACCEPT, "application/json");
        let request = request.header(USER_AGENT, concat!("meed/", env!("CARGO_PKG_VERSION")));
        let mut response = request.send().await.map_err(describe)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(describe)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(format!("the response has more than {MAX_BYTES} bytes").into());
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body[..body.len().min(500)]);
            return Err(Failed {
                status: Some(status.as_u16()),
                reason: text
                    .chars()
                    .map(|letter| if letter.is_control() { ' ' } else { letter })
                    .collect(),
            });
        }
        serde_json::from_slice(&body).map_err(|error| format!("the response is not as expected: {error}").into())
    }
}

/// The JSON of a file of at most as many bytes.
pub(super) async fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failed> {
    let fault = |error: std::io::Error| Failed::from(format!("{}: {error}", path.display()));
    let file = tokio::fs::File::open(path).await.map_err(fault)?;
    let mut body = Vec::new();
    let mut bounded = file.take(MAX_BYTES as u64 + 1);
    bounded.read_to_end(&mut body).await.map_err(fault)?;
    if body.len() > MAX_BYTES {
        return Err(format!("{} has more than {MAX_BYTES} bytes", path.display()).into());
    }
    serde_json::from_slice(&body).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// A URL to which the server may send requests and browsers: https, or http on this machine.
pub(in crate::users) fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!("{text:?} has a user name, a password or a fragment; remove it"));
    }
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_here = host == "localhost" || literal.is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        _ => Err(format!("{text:?} is not an https URL")),
    }
}

fn encode_form(form: &[(&str, &str)]) -> String {
    // `Url` encodes pairs as a form does.
    let Ok(mut url) = Url::parse("https://form.invalid/") else {
        return String::new();
    };
    url.query_pairs_mut().extend_pairs(form);
    url.query().unwrap_or_default().to_owned()
}

fn encode(text: &str) -> String {
    encode_form(&[("", text)]).trim_start_matches('=').to_owned()
}

/// reqwest's error with its innermost cause, without the URL.
fn describe(error: reqwest::Error) -> Failed {
    let error = error.without_url();
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let what = if error.is_timeout() { "timed out" } else { "not reached" };
    format!("{what}: {innermost}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_only_for_this_machine() {
        for text in [
            "https://id.example.com/a?b=c",
            "http://localhost:4000/",
            "http://127.0.0.1/",
            "http://[::1]:1/",
        ] {
            assert!(endpoint(text).is_ok(), "{text}");
        }
        for text in [
            "http://id.example.com/",
            "http://localhost.example.com/",
            "http://10.0.0.1/",
            "file:///etc/passwd",
            "https://user@id.example.com/",
            "https://id.example.com/#a",
            "id.example.com",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_encoded_before_it_is_sent() {
        assert_eq!(encode("a:b c/é=&"), "a%3Ab+c%2F%C3%A9%3D%26");
        assert_eq!(encode("=x"), "%3Dx");
        assert_eq!(encode_form(&[("a", "1"), ("b", "2 3")]), "a=1&b=2+3");
    }
}
