//! Redis or Valkey, one server or a cluster, over one multiplexed connection that carries the news of other processes too.
//!
//! A breaker stands before every call: the first failure closes the way, calls then answer at once with nothing, and
//! [`Redis::next`] tries by itself until Redis answers in time again. An answer that is late is no answer.

mod link;

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

use super::gcra::{Policy, TAKE, Verdict, micros};
use crate::clock::Timestamp;
use link::{Connection, Push};

/// A call that has no answer by then has none. Redis in the same network answers in less than one of them.
const PATIENCE: Duration = Duration::from_millis(100);
/// Making a connection, with TLS perhaps.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts to reach it.
const RETRY: Duration = Duration::from_millis(250);
/// An idle connection is tried this often.
const PULSE: Duration = Duration::from_secs(1);
/// Messages that wait to be heard; when there are more, all that is kept is taken for old.
const MESSAGES: usize = 1024;
/// Calls on their way that nobody waits for; further ones are not made.
const UNAWAITED: usize = 256;

const CHANNEL: &str = "meed:changes";
const HOUR: Duration = Duration::from_hours(1);

static TAKE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(TAKE));
static COUNT_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/count.lua")));
static TOP_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/top.lua")));

/// Why `cache.url` does not do. It never shows the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "cache.url: {0}; expected redis://HOST:6379, rediss:// for TLS, redis-cluster://HOST,HOST for a cluster, or nothing"
)]
pub struct UrlError(String);

#[derive(Clone)]
pub(super) struct Redis(Arc<Inner>);

struct Inner {
    connection: Connection,
    up: AtomicBool,
    /// Woken when it is no longer up.
    lost: Notify,
    keeper: Mutex<Keeper>,
    /// There were more of them than fit.
    missed: Arc<AtomicBool>,
    unawaited: Arc<Semaphore>,
}

struct Keeper {
    pushes: mpsc::Receiver<Push>,
    /// It answers again, but it is not asked yet.
    reached: bool,
    /// The log says how it stands.
    told: bool,
}

impl Redis {
    /// `None` for an empty URL.
    pub(super) fn new(url: &SecretString) -> Result<Option<Self>, UrlError> {
        let url = url.expose_secret();
        if url.is_empty() {
            return Ok(None);
        }
        let (sender, pushes) = mpsc::channel(MESSAGES);
        let missed = Arc::new(AtomicBool::new(false));
        let connection =
            Connection::open(url, sender, Arc::clone(&missed)).map_err(|error| UrlError(error.to_string()))?;
        metrics::gauge!("meed_cache_up").set(0.0);
        Ok(Some(Self(Arc::new(Inner {
            connection,
            up: AtomicBool::new(false),
            lost: Notify::new(),
            keeper: Mutex::new(Keeper {
                pushes,
                reached: false,
                told: false,
            }),
            missed,
            unawaited: Arc::new(Semaphore::new(UNAWAITED)),
        }))))
    }

    pub(super) fn is_up(&self) -> bool {
        self.0.up.load(Ordering::Relaxed)
    }

    /// Keeps the connection and waits for the next message; `None` when some may have been missed. What was taken from
    /// Redis before is to be forgotten then, and only when this is asked again the way is open.
    pub(super) async fn next(&self) -> Option<Vec<u8>> {
        let mut keeper = self.0.keeper.lock().await;
        if std::mem::take(&mut keeper.reached) {
            self.0.up.store(true, Ordering::Relaxed);
            metrics::gauge!("meed_cache_up").set(1.0);
            tracing::info!("Redis is reached");
            keeper.told = true;
        }
        loop {
            while self.is_up() {
                tokio::select! {
                    push = keeper.pushes.recv() => match push {
                        Some(Push::Message(message)) => return Some(message),
                        Some(Push::Lost) | None => self.lost("the connection ended"),
                    },
                    () = self.0.lost.notified() => {}
                    () = tokio::time::sleep(PULSE) => {
                        self.ask::<()>("ping", &redis::cmd("PING")).await;
                    }
                }
                if self.0.missed.swap(false, Ordering::Relaxed) {
                    self.lost("too many messages at once");
                }
            }
            // What is told from here on is of the connection that is tried next.
            while keeper.pushes.try_recv().is_ok() {}
            match self.try_out().await {
                Ok(()) => {
                    keeper.reached = true;
                    return None;
                }
                Err(error) => {
                    if !std::mem::replace(&mut keeper.told, true) {
                        tracing::warn!(%error, "Redis cannot be reached; going on without it");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Whether it can be relied on: it answers, tells what other processes publish, and does so in time.
    async fn try_out(&self) -> Result<(), String> {
        let ping = redis::cmd("PING");
        let reached = async {
            self.0.connection.ask::<()>(&ping).await?;
            self.0.connection.subscribe(CHANNEL).await
        };
        let slow = |within: Duration| move |_| format!("no answer within {} ms", within.as_millis());
        let reached = timeout(CONNECT_PATIENCE, reached)
            .await
            .map_err(slow(CONNECT_PATIENCE))?;
        reached.map_err(|error| error.to_string())?;
        let answered = timeout(PATIENCE, self.0.connection.ask::<()>(&ping)).await;
        answered.map_err(slow(PATIENCE))?.map_err(|error| error.to_string())
    }

    pub(super) async fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.ask("get", redis::cmd("GET").arg(name(key))).await?
    }

    /// Unless there is something. In a task of its own.
    pub(super) fn put(&self, key: &str, value: &[u8], lifetime: Duration) {
        let mut set = redis::cmd("SET");
        set.arg(name(key)).arg(value).arg("NX").arg("PX").arg(millis(lifetime));
        self.unawaited(|redis| async move {
            redis.ask::<Option<()>>("put", &set).await;
        });
    }

    /// Puts nothing in its place, which [`Redis::put`] leaves alone.
    pub(super) async fn forget(&self, key: &str, barred: Duration) {
        let mut set = redis::cmd("SET");
        set.arg(name(key)).arg("").arg("PX").arg(millis(barred));
        self.ask::<()>("forget", &set).await;
    }

    pub(super) async fn publish(&self, message: &[u8]) {
        self.ask::<()>("publish", redis::cmd("PUBLISH").arg(CHANNEL).arg(message))
            .await;
    }

    pub(super) async fn take(&self, policy: &Policy, bucket: &str, now: Timestamp) -> Option<Verdict> {
        let mut take = TAKE_SCRIPT.key(name(&format!("limit:{bucket}")));
        take.arg(micros(now)).arg(policy.cost).arg(policy.capacity());
        let (granted, ahead): (bool, i64) = self.run("take", &take).await?;
        Some(policy.verdict(granted, ahead))
    }

    /// In a task of its own.
    pub(super) fn count(&self, event_id: Uuid, user_id: Uuid, hour: i64) {
        self.unawaited(move |redis| async move {
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
            // Whatever else somebody put there is no event.
            .filter_map(|(event_id, count)| Some((event_id.parse().ok()?, count as u64)));
        Some(ranked.collect())
    }

    /// Unless many are on their way already.
    fn unawaited<C: Future<Output = ()> + Send + 'static>(&self, call: impl FnOnce(Self) -> C) {
        if !self.is_up() {
            return;
        }
        if let Ok(place) = Arc::clone(&self.0.unawaited).try_acquire_owned() {
            let call = call(self.clone());
            tokio::spawn(async move {
                call.await;
                drop(place);
            });
        }
    }

    async fn ask<T: FromRedisValue>(&self, what: &'static str, command: &Cmd) -> Option<T> {
        self.guard(what, self.0.connection.ask(command)).await
    }

    async fn run<T: FromRedisValue>(&self, what: &'static str, script: &ScriptInvocation<'_>) -> Option<T> {
        self.guard(what, self.0.connection.run(script)).await
    }

    /// The breaker.
    async fn guard<T>(&self, what: &'static str, call: impl Future<Output = RedisResult<T>>) -> Option<T> {
        if !self.is_up() {
            return None;
        }
        let fault = match timeout(PATIENCE, call).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => {
                if is_of_the_connection(&error) {
                    self.lost(&error);
                } else {
                    // It answers, so it is not gone: what was found there is not what we put there.
                    tracing::debug!(%error, call = what, "Redis did not do what it was asked");
                }
                "refused"
            }
            Err(_) => {
                self.lost("no answer in time");
                "slow"
            }
        };
        metrics::counter!("meed_cache_errors_total", "call" => what, "fault" => fault).increment(1);
        None
    }

    fn lost(&self, reason: impl fmt::Display) {
        if self.0.up.swap(false, Ordering::Relaxed) {
            tracing::warn!(%reason, "Redis is lost; going on without it");
            metrics::gauge!("meed_cache_up").set(0.0);
        }
        self.0.lost.notify_one();
    }
}

fn is_of_the_connection(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error() || error.is_cluster_error()
}

fn name(key: &str) -> String {
    format!("meed:{key}")
}

/// The braces keep all of them on one node of a cluster, as they are put together there.
fn ranking(hour: i64) -> String {
    name(&format!("{{popular}}:{hour}"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
