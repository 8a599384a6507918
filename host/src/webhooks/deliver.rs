//! One attempt to deliver a message over the network.
//!
//! The host is resolved once, every address is checked, and the client connects only to one of these addresses, so a
//! second DNS answer cannot bypass the check. Redirects are not followed, proxies of the environment not used. Time and
//! response are bounded. Must not know: what a result means for the delivery.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::future::Cache;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, Response, Url, redirect};

use super::message;
use super::target::{Policy, Refusal, literal};

/// How much of a response is kept, for troubleshooting.
const ANSWER_BYTES: usize = 1024;
/// How long the body may take after the status.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
/// For resolving the host, and for connecting. Both count towards the time-out of the attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long checked addresses are used before the host is resolved again.
const RESOLVED_FOR: Duration = Duration::from_secs(30);
/// A longer `Retry-After` is shortened to this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);
const CLIENTS: u64 = 1_000;

/// The result of an attempt.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempt {
    pub status: Option<u16>,
    /// Why it failed; `None`: it succeeded.
    pub error: Option<String>,
    /// The beginning of the response body.
    pub answer: Option<String>,
    /// The receiver's `Retry-After`.
    pub retry_after: Option<Duration>,
    pub elapsed: Duration,
}

impl Attempt {
    pub(super) fn is_success(&self) -> bool {
        self.error.is_none()
    }

    /// The receiver answered 410 Gone: it wants no more messages.
    pub(super) fn is_gone(&self) -> bool {
        self.status == Some(410)
    }
}

/// A signed request.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub id: uuid::Uuid,
    pub seconds: i64,
    pub signature: String,
    pub body: Vec<u8>,
}

/// How hosts are resolved.
#[derive(Clone)]
pub(super) enum Names {
    System,
    /// One list after the other, for tests of hosts that resolve differently each time.
    #[cfg(test)]
    Scripted(Arc<std::sync::Mutex<std::collections::VecDeque<Vec<IpAddr>>>>),
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Deliverer {
    policy: Policy,
    timeout: Duration,
    names: Names,
    /// By scheme, host and port: a client that connects to the checked addresses only.
    clients: Cache<String, Client>,
}

impl Deliverer {
    pub(super) fn new(policy: Policy, timeout: Duration, names: Names) -> Self {
        let clients = Cache::builder()
            .max_capacity(CLIENTS)
            .time_to_live(RESOLVED_FOR)
            .build();
        Self {
            policy,
            timeout,
            names,
            clients,
        }
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) async fn attempt(&self, url: &str, parcel: Parcel) -> Attempt {
        let started = Instant::now();
        let answered = tokio::time::timeout(self.timeout, self.post(url, parcel)).await;
        let answered = answered.unwrap_or_else(|_| Err(format!("no answer within {} s", self.timeout.as_secs_f32())));
        let attempt = match answered {
            Ok(response) => read(response).await,
            Err(error) => Attempt {
                error: Some(error),
                ..Attempt::default()
            },
        };
        Attempt {
            elapsed: started.elapsed(),
            ..attempt
        }
    }

    async fn post(&self, url: &str, parcel: Parcel) -> Result<Response, String> {
        let url = self
            .policy
            .check_url(url)
            .map_err(|refusal| format!("not sent: the URL {refusal}"))?;
        let client = self.client(&url).await?;
        let response = client
            .post(url)
            .header(CONTENT_TYPE, message::CONTENT_TYPE)
            .header(USER_AGENT, concat!("meed/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", parcel.id.to_string())
            .header("webhook-timestamp", parcel.seconds.to_string())
            .header("webhook-signature", parcel.signature)
            .body(parcel.body)
            .send()
            .await;
        response.map_err(|error| describe(&error))
    }

    async fn client(&self, url: &Url) -> Result<Client, String> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let name = format!("{}://{host}:{port}", url.scheme());
        let made = self.clients.try_get_with(name, async {
            let addresses = self.addresses(url, host, port).await?;
            Client::builder()
                .dns_resolver(Arc::new(Checked(addresses)))
                .redirect(redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(RESOLVED_FOR)
                .build()
                .map_err(|error| format!("not sent: {error}"))
        });
        made.await.map_err(|error| String::clone(&error))
    }

    /// All addresses of the URL's host. If one is not allowed, none is used: only an attacker would mix them.
    async fn addresses(&self, url: &Url, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let found = match literal(url) {
            Some(address) => vec![address],
            None => self.resolve(host, port).await?,
        };
        if found.is_empty() {
            return Err(format!("not sent: {host} has no address"));
        }
        for address in &found {
            let checked: Result<(), Refusal> = self.policy.check_address(url, *address);
            checked.map_err(|refusal| format!("not sent: the URL {refusal}"))?;
        }
        Ok(found
            .into_iter()
            .map(|address| SocketAddr::new(address, port))
            .collect())
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<IpAddr>, String> {
        match &self.names {
            Names::System => {
                let looked_up = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((host, port))).await;
                let found = looked_up
                    .map_err(|_| format!("not sent: resolving {host} timed out"))?
                    .map_err(|error| format!("not sent: {host} cannot be resolved: {error}"))?;
                Ok(found.map(|address| address.ip()).collect())
            }
            #[cfg(test)]
            Names::Scripted(script) => Ok(script.lock().unwrap().pop_front().unwrap_or_default()),
        }
    }
}

/// Reads a response. Its status is what counts; the beginning of its body is kept if it arrives in time.
async fn read(mut response: Response) -> Attempt {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let mut answer = Vec::new();
    let beginning = async {
        while answer.len() < ANSWER_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            answer.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES - answer.len())]);
        }
    };
    // The rest is not read; the connection is closed.
    tokio::time::timeout(BODY_TIMEOUT, beginning).await.ok();
    let error = match status.as_u16() {
        200..=299 => None,
        300..=399 => Some(format!("answered {status}; redirects are not followed")),
        _ => Some(format!("answered {status}")),
    };
    Attempt {
        status: Some(status.as_u16()),
        error,
        answer: (!answer.is_empty()).then(|| printable(&answer)),
        retry_after,
        elapsed: Duration::ZERO,
    }
}

/// Resolves every host to the checked addresses. (reqwest resolves no IP address in a URL; that was checked, too.)
struct Checked(Vec<SocketAddr>);

impl Resolve for Checked {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// reqwest's error with its innermost cause and without the URL, which the reader knows.
fn describe(error: &reqwest::Error) -> String {
    let what = if error.is_connect() {
        "not connected"
    } else if error.is_timeout() {
        "timed out"
    } else {
        "connection broken"
    };
    let mut cause = std::error::Error::source(error);
    let mut innermost = None;
    while let Some(error) = cause {
        innermost = Some(error.to_string());
        cause = error.source();
    }
    let text = innermost.map_or_else(|| what.to_owned(), |cause| format!("{what}: {cause}"));
    printable(text.as_bytes())
}

/// `Retry-After` in seconds, or as a date (RFC 9110), which is compared with the receiver's own clock: its `Date`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let date = |name| text(name).and_then(|date| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
    let after = text(RETRY_AFTER)?;
    let duration = if !after.is_empty() && after.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(after.parse().unwrap_or(u64::MAX))
    } else {
        // A date in the past asks for no delay.
        let until = date(RETRY_AFTER)?.duration_since(date(DATE)?);
        Duration::try_from(until).unwrap_or_default()
    };
    Some(duration.min(LONGEST_RETRY_AFTER))
}

/// Text without control characters.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(ANSWER_BYTES)]);
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests;
