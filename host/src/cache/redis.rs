//! Redis or Valkey, one server or a cluster, over one multiplexed connection, which also receives the invalidations.
//!
//! A circuit breaker guards every call. The first failure or timeout opens it; calls then return nothing immediately,
//! and [`Redis::next_message`] probes Redis until it answers in time again. A late answer counts as a failure.

mod connection;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{Cmd, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Mutex, Notify, Semaphore, mpsc};
use tokio::time::timeout;
use uuid::Uuid;

use super::gcra::{self, Policy, RateLimit, micros};
use crate::clock::Timestamp;
use connection::{Connection, Push};

/// Call timeout. Redis in the same network answers within one millisecond.
const CALL_TIMEOUT: Duration = Duration::from_millis(100);
/// Connect timeout, including the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The delay between two connection attempts.
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// How often an idle connection is checked with PING.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// The capacity of the queue of received invalidations. If it overflows, all copies are dropped.
const MESSAGES: usize = 1024;
/// The maximum number of fire-and-forget calls in flight; further ones are skipped.
const MAX_DETACHED: usize = 256;

const CHANNEL: &str = "meed:changes";
const HOUR: Duration = Duration::from_hours(1);

static RATE_LIMIT_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(gcra::SCRIPT));
static COUNT_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/count.lua")));
static TOP_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/top.lua")));

/// Why `cache.url` is invalid. The message does not show the URL, which may contain a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "cache.url: {0}; expected redis://HOST:6379, rediss:// for TLS, redis-cluster://HOST,HOST for a cluster, or an empty value for no Redis"
)]
pub struct UrlError(String);

#[derive(Clone)]
pub(super) struct Redis(Arc<Inner>);

struct Inner {
    connection: Connection,
    up: AtomicBool,
    /// Wakes [`Redis::next_message`] when the breaker opened.
    lost: Notify,
    receiver: Mutex<Receiver>,
    /// The queue of messages overflowed.
    overflowed: Arc<AtomicBool>,
    detached: Arc<Semaphore>,
}

struct Receiver {
    pushes: mpsc::Receiver<Push>,
    /// Redis answers again; the next call of [`Redis::next_message`] closes the breaker.
    reconnected: bool,
    /// The current state was logged.
    logged: bool,
}

impl Redis {
    /// `None` for an empty URL.
    pub(super) fn new(url: &SecretString) -> Result<Option<Self>, UrlError> {
        let url = url.expose_secret();
        if url.is_empty() {
            return Ok(None);
        }
        let (sender, pushes) = mpsc::channel(MESSAGES);
        let overflowed = Arc::new(AtomicBool::new(false));
        let connection =
            Connection::open(url, sender, Arc::clone(&overflowed)).map_err(|error| UrlError(error.to_string()))?;
        metrics::gauge!("meed_cache_up").set(0.0);
        Ok(Some(Self(Arc::new(Inner {
            connection,
            up: AtomicBool::new(false),
            lost: Notify::new(),
            receiver: Mutex::new(Receiver {
                pushes,
                reconnected: false,
                logged: false,
            }),
            overflowed,
            detached: Arc::new(Semaphore::new(MAX_DETACHED)),
        }))))
    }

    pub(super) fn is_up(&self) -> bool {
        self.0.up.load(Ordering::Relaxed)
    }

    /// Maintains the connection and waits for the next message. `None` means that messages may have been lost: the
    /// caller must drop all copies. The breaker closes only at the call after that.
    pub(super) async fn next_message(&self) -> Option<Vec<u8>> {
        let mut receiver = self.0.receiver.lock().await;
        if std::mem::take(&mut receiver.reconnected) {
            self.0.up.store(true, Ordering::Relaxed);
            metrics::gauge!("meed_cache_up").set(1.0);
            tracing::info!("Connected to Redis");
            receiver.logged = true;
        }
        loop {
            while self.is_up() {
                tokio::select! {
                    push = receiver.pushes.recv() => match push {
                        Some(Push::Message(message)) => return Some(message),
                        Some(Push::Lost) | None => self.lost("the connection ended"),
                    },
                    () = self.0.lost.notified() => {}
                    () = tokio::time::sleep(PING_INTERVAL) => {
                        self.call::<()>("ping", &redis::cmd("PING")).await;
                    }
                }
                if self.0.overflowed.swap(false, Ordering::Relaxed) {
                    self.lost("the queue of received messages overflowed");
                }
            }
            // Discard messages of the old connection; later ones belong to the connection that is probed next.
            while receiver.pushes.try_recv().is_ok() {}
            match self.probe().await {
                Ok(()) => {
                    receiver.reconnected = true;
                    return None;
                }
                Err(error) => {
                    if !std::mem::replace(&mut receiver.logged, true) {
                        tracing::warn!(%error, "Redis is unreachable; continuing without it");
                    }
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    /// Connects, subscribes to the invalidations, and checks that Redis answers within the call timeout.
    async fn probe(&self) -> Result<(), String> {
        let ping = redis::cmd("PING");
        let reached = async {
            self.0.connection.call::<()>(&ping).await?;
            self.0.connection.subscribe(CHANNEL).await
        };
        let slow = |within: Duration| move |_| format!("no answer within {} ms", within.as_millis());
        let reached = timeout(CONNECT_TIMEOUT, reached).await.map_err(slow(CONNECT_TIMEOUT))?;
        reached.map_err(|error| error.to_string())?;
        let answered = timeout(CALL_TIMEOUT, self.0.connection.call::<()>(&ping)).await;
        answered.map_err(slow(CALL_TIMEOUT))?.map_err(|error| error.to_string())
    }

    pub(super) async fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.call("get", redis::cmd("GET").arg(name(key))).await?
    }

    /// Stores a value unless the key exists. Fire and forget.
    pub(super) fn put(&self, key: &str, value: &[u8], lifetime: Duration) {
        let mut set = redis::cmd("SET");
        set.arg(name(key)).arg(value).arg("NX").arg("PX").arg(millis(lifetime));
        self.detach(|redis| async move {
            redis.call::<Option<()>>("put", &set).await;
        });
    }

    /// Stores an empty value, which [`Redis::put`] does not overwrite.
    pub(super) async fn put_tombstone(&self, key: &str, lifetime: Duration) {
        let mut set = redis::cmd("SET");
        set.arg(name(key)).arg("").arg("PX").arg(millis(lifetime));
        self.call::<()>("invalidate", &set).await;
    }

    pub(super) async fn publish(&self, message: &[u8]) {
        self.call::<()>("publish", redis::cmd("PUBLISH").arg(CHANNEL).arg(message))
            .await;
    }

    pub(super) async fn check(&self, policy: &Policy, bucket: &str, now: Timestamp) -> Option<RateLimit> {
        let mut script = RATE_LIMIT_SCRIPT.key(name(&format!("limit:{bucket}")));
        script.arg(micros(now)).arg(policy.cost).arg(policy.capacity());
        let (allowed, ahead): (bool, i64) = self.run("check", &script).await?;
        Some(policy.state(allowed, ahead))
    }

    /// Fire and forget.
    pub(super) fn count(&self, event_id: Uuid, user_id: Uuid, hour: i64) {
        self.detach(move |redis| async move {
            let mut count = COUNT_SCRIPT.key(ranking(hour));
            count.key(format!("{}:{event_id}", ranking(hour)));
            count.arg(event_id.to_string()).arg(user_id.as_bytes().as_slice());
            count.arg(millis(25 * HOUR)).arg(millis(2 * HOUR));
            redis.run::<()>("count", &count).await;
        });
    }

    pub(super) async fn top(&self, hours: RangeInclusive<i64>, most: usize) -> Option<Vec<(Uuid, u64)>> {
        let mut top = TOP_SCRIPT.key(name("{popular}:top"));
        for hour in hours {
            top.key(ranking(hour));
        }
        top.arg(most).arg(millis(Duration::from_mins(1)));
        let ranked: Vec<(String, f64)> = self.run("top", &top).await?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast of a number saturates"
        )]
        let ranked = ranked
            .into_iter()
            // Ignore foreign entries, which have no valid id.
            .filter_map(|(event_id, count)| Some((event_id.parse().ok()?, count as u64)));
        Some(ranked.collect())
    }

    /// Runs a call in a separate task, unless the breaker is open or the maximum of such calls is in flight.
    fn detach<C: Future<Output = ()> + Send + 'static>(&self, call: impl FnOnce(Self) -> C) {
        if !self.is_up() {
            return;
        }
        if let Ok(permit) = Arc::clone(&self.0.detached).try_acquire_owned() {
            let call = call(self.clone());
            tokio::spawn(async move {
                call.await;
                drop(permit);
            });
        }
    }

    async fn call<T: FromRedisValue>(&self, name: &'static str, command: &Cmd) -> Option<T> {
        self.guard(name, self.0.connection.call(command)).await
    }

    async fn run<T: FromRedisValue>(&self, name: &'static str, script: &ScriptInvocation<'_>) -> Option<T> {
        self.guard(name, self.0.connection.run(script)).await
    }

    /// The circuit breaker around one call.
    async fn guard<T>(&self, name: &'static str, call: impl Future<Output = RedisResult<T>>) -> Option<T> {
        if !self.is_up() {
            return None;
        }
        let fault = match timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => {
                if is_connection_error(&error) {
                    self.lost(&error);
                } else {
                    // Redis is up: for example, the key holds a value of another type.
                    tracing::debug!(%error, call = name, "Redis refused the command");
                }
                "refused"
            }
            Err(_) => {
                self.lost("no answer in time");
                "slow"
            }
        };
        metrics::counter!("meed_cache_errors_total", "call" => name, "fault" => fault).increment(1);
        None
    }

    fn lost(&self, reason: impl fmt::Display) {
        if self.0.up.swap(false, Ordering::Relaxed) {
            tracing::warn!(%reason, "Lost the connection to Redis; continuing without it");
            metrics::gauge!("meed_cache_up").set(0.0);
        }
        self.0.lost.notify_one();
    }
}

fn is_connection_error(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error() || error.is_cluster_error()
}

fn name(key: &str) -> String {
    format!("meed:{key}")
}

/// The hash tag (braces) keeps all rankings on one cluster node, where `top.lua` merges them.
fn ranking(hour: i64) -> String {
    name(&format!("{{popular}}:{hour}"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
