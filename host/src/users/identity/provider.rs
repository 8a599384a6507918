//! One identity provider: its endpoints and its keys, which are cached and fetched again.
//!
//! A request waits for a fetch only if no cached key fits its token, at most as long as the fetch may take, and there is at
//! most one fetch per [`PAUSE`], however many tokens name unknown keys. A provider that cannot be reached leaves the keys
//! valid for `keys_valid_seconds`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use parking_lot::RwLock;
use reqwest::Url;
use serde::Deserialize;

use super::fetch::{self, Failed, Fetcher, endpoint};
use super::keys::{Document, Key, KeySet};
use crate::clock::{Clock, Timestamp};
use crate::config::Jwks;

/// Requests that may wait for a fetch. Further ones get an error, so that a slow provider and a client that makes up keys cannot
/// use up the server.
const MAX_WAITING: usize = 64;
/// Between two fetches.
const PAUSE: Duration = Duration::from_secs(10);
/// Keys of this age are fetched again by the background task. A key that the provider removed is used for so long.
const REFRESH_AFTER: Duration = Duration::from_mins(5);

/// Where a provider's keys come from.
#[derive(Clone, Debug)]
pub(in crate::users) enum Source {
    Discovery(Url),
    Url(Url),
    File(PathBuf),
}

impl Source {
    pub(in crate::users) fn of(issuer: &str, jwks: &Jwks) -> Result<Self, String> {
        match jwks {
            Jwks::Discovery => {
                let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
                endpoint(&address).map(Self::Discovery)
            }
            Jwks::Url(url) => endpoint(url).map(Self::Url),
            Jwks::File(path) => Ok(Self::File(path.clone())),
        }
    }
}

/// The part of a discovery document that is used (OpenID Connect Discovery 1.0, section 3).
#[derive(Clone, Debug, Deserialize)]
pub(in crate::users) struct Metadata {
    issuer: String,
    jwks_uri: String,
    pub authorization_endpoint: Option<String>,
    pub token_endpoint: Option<String>,
    /// Whether its responses name it (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

#[derive(Debug)]
pub(in crate::users) struct Provider {
    issuer: String,
    source: Source,
    fetcher: Fetcher,
    clock: Clock,
    keys_valid: Duration,
    state: RwLock<State>,
    /// Held during a fetch.
    fetching: tokio::sync::Mutex<()>,
    waiting: tokio::sync::Semaphore,
}

#[derive(Debug, Default)]
struct State {
    fetched: Option<Fetched>,
    attempted_at: Option<Timestamp>,
    /// Whether the last fetch, if there was one, failed: a key that is not cached may be a new one.
    has_failed: bool,
}

#[derive(Clone, Debug)]
struct Fetched {
    keys: Arc<KeySet>,
    metadata: Option<Arc<Metadata>>,
    at: Timestamp,
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    Unknown,
    /// The provider cannot be reached, so that its keys are not known, or too many requests wait for it.
    Unavailable,
}

impl Provider {
    pub(in crate::users) fn new(
        issuer: String,
        source: Source,
        keys_valid: Duration,
        fetcher: Fetcher,
        clock: Clock,
    ) -> Self {
        Self {
            issuer,
            source,
            fetcher,
            clock,
            keys_valid,
            state: RwLock::default(),
            fetching: tokio::sync::Mutex::default(),
            waiting: tokio::sync::Semaphore::new(MAX_WAITING),
        }
    }

    pub(in crate::users) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The key that a token names.
    pub(super) async fn key(self: &Arc<Self>, id: Option<&str>, algorithm: Algorithm) -> Result<Arc<Key>, NoKey> {
        if let Some(key) = self.cached(id, algorithm) {
            return Ok(key);
        }
        let has_waited = self.fetch_again().await;
        match self.cached(id, algorithm) {
            Some(key) => Ok(key),
            None if has_waited && self.valid().is_some() && !self.state.read().has_failed => Err(NoKey::Unknown),
            None => Err(NoKey::Unavailable),
        }
    }

    /// Whether the key with this thumbprint is among the valid ones, without a fetch.
    pub(super) fn has(&self, thumbprint: &str) -> bool {
        self.valid().is_some_and(|fetched| fetched.keys.has(thumbprint))
    }

    fn cached(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        self.valid()?.keys.find(id, algorithm).cloned()
    }

    /// The endpoints; `None` if the provider cannot be reached.
    pub(in crate::users) async fn metadata(self: &Arc<Self>) -> Option<Arc<Metadata>> {
        if self.valid().is_none() {
            self.fetch_again().await;
        }
        self.valid()?.metadata
    }

    fn valid(&self) -> Option<Fetched> {
        let now = self.clock.now();
        let fetched = self.state.read().fetched.clone();
        fetched.filter(|fetched| now < fetched.at.plus(self.keys_valid))
    }

    /// Fetches keys that are missing or will become too old. For the background task.
    pub(in crate::users) async fn refresh(self: &Arc<Self>) {
        let now = self.clock.now();
        let is_fresh = |fetched: &Fetched| now < fetched.at.plus(REFRESH_AFTER.min(self.keys_valid / 2));
        if !self.state.read().fetched.as_ref().is_some_and(is_fresh) {
            self.fetch_again().await;
        }
    }

    /// Waits for a fetch, unless the last one was a moment ago. `false` if too many wait.
    async fn fetch_again(self: &Arc<Self>) -> bool {
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return false;
        };
        if !self.may_attempt() {
            // Another request may have started it.
            drop(self.fetching.lock().await);
            return true;
        }
        let provider = Arc::clone(self);
        // Continues when the client disconnects, so that a client cannot keep the server from fetching new keys.
        let fetch = tokio::spawn(async move {
            let _held = provider.fetching.lock().await;
            let now = provider.clock.now();
            if !provider.may_attempt() {
                return;
            }
            provider.state.write().attempted_at = Some(now);
            match provider.fetch().await {
                Ok((keys, metadata)) => {
                    let fetched = Fetched {
                        keys: Arc::new(keys),
                        metadata: metadata.map(Arc::new),
                        at: now,
                    };
                    let mut state = provider.state.write();
                    state.fetched = Some(fetched);
                    state.has_failed = false;
                }
                Err(failed) => {
                    provider.state.write().has_failed = true;
                    metrics::counter!("meed_identity_provider_errors_total", "issuer" => provider.issuer.clone())
                        .increment(1);
                    tracing::warn!(issuer = provider.issuer, %failed, "keys of an identity provider not fetched");
                }
            }
        });
        // A panic of the task is reported by its hook; the keys are then as before.
        fetch.await.ok();
        true
    }

    fn may_attempt(&self) -> bool {
        let now = self.clock.now();
        let attempted = self.state.read().attempted_at;
        // A clock that was set back must not prevent fetches.
        attempted.is_none_or(|at| now >= at.plus(PAUSE) || now < at)
    }

    async fn fetch(&self) -> Result<(KeySet, Option<Metadata>), Failed> {
        let (document, metadata): (Document, _) = match &self.source {
            Source::File(path) => (fetch::read(path).await?, None),
            Source::Url(url) => (self.fetcher.get(url).await?, None),
            Source::Discovery(url) => {
                let metadata: Metadata = self.fetcher.get(url).await?;
                if metadata.issuer != self.issuer {
                    // Otherwise a provider could speak for another one.
                    return Err(format!("its discovery document names the issuer {:?}", metadata.issuer).into());
                }
                (self.fetcher.get(&endpoint(&metadata.jwks_uri)?).await?, Some(metadata))
            }
        };
        Ok((KeySet::of(document)?, metadata))
    }
}
