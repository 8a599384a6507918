//! The cache that replicas share in Redis or Valkey, and its in-process fallback.
//!
//! The cache is never the source of truth. A value may be missing, late, stale, or forged by a client with write access
//! to Redis, and callers must stay correct in each case. Therefore every value carries a MAC and the timestamp at which
//! it was read from the database. A call waits at most 100 ms, and returns immediately while Redis is known to be down.
//! A call returns no errors: a failure looks like a missing value.
//!
//! Must not know: any feature, the meaning of a value, HTTP.

mod copies;
mod gcra;
mod mac;
mod memory;
mod redis;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use uuid::Uuid;

pub use self::redis::UrlError;
pub use copies::{Copies, SLOWEST_READ};
pub use gcra::{Policy, RateLimit};

use self::mac::Mac;
use self::memory::Memory;
use self::redis::Redis;
use crate::clock::Timestamp;
use crate::mutations;

/// The object that an invalidation concerns: one of a kind that processes keep copies of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    Event(Uuid),
    Reward(Uuid),
    /// One plugin version, by its digest.
    Plugin(String),
    /// All plugin versions, for example after a signing key was revoked.
    Plugins,
    /// The session ended.
    Session(Uuid),
    /// The role or the state of the user changed.
    User(Uuid),
    ServiceKey(Uuid),
    /// An entry of the granted cache, by its name.
    Granted(String),
}

/// A message from another process: drop these copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalidation {
    Changed(Topic),
    /// The connection to Redis is new, so messages may have been lost: drop all copies.
    All,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    mac: Mac,
    memory: Memory,
    redis: Option<Redis>,
}

impl Cache {
    /// `url`: `redis:`, `rediss:` (TLS), `redis-cluster:` or `rediss-cluster:`; empty for no Redis. All replicas share
    /// `secret`, the key of the MACs. The first call of [`Cache::next_invalidation`] connects.
    pub fn new(url: &SecretString, secret: &[u8; 32]) -> Result<Self, UrlError> {
        Ok(Self::on(Redis::new(url)?, secret))
    }

    /// A cache without Redis.
    pub fn in_process(secret: &[u8; 32]) -> Self {
        Self::on(None, secret)
    }

    fn on(redis: Option<Redis>, secret: &[u8; 32]) -> Self {
        Self(Arc::new(Inner {
            mac: Mac::new(secret),
            memory: Memory::new(),
            redis,
        }))
    }

    /// Maintains the connection and waits for the next invalidation. Call it in a loop: without it the cache never
    /// connects to Redis. Without Redis it never returns.
    pub async fn next_invalidation(&self) -> Invalidation {
        let Some(redis) = &self.0.redis else {
            return std::future::pending().await;
        };
        loop {
            let Some(message) = redis.next_message().await else {
                return Invalidation::All;
            };
            // Ignore messages with a wrong MAC, and topics of a newer release.
            if let Some(topic) = self.read_topic(&message) {
                return Invalidation::Changed(topic);
            }
        }
    }

    /// Whether Redis is connected, so that invalidations of other processes arrive immediately.
    pub fn is_shared(&self) -> bool {
        self.0.redis.as_ref().is_some_and(Redis::is_up)
    }

    /// Reads a value and the timestamp at which it was true. A value from the future, or at least `max_age` old, is
    /// ignored.
    pub async fn get(&self, key: &str, now: Timestamp, max_age: Duration) -> Option<(Timestamp, Vec<u8>)> {
        let signed = self.0.redis.as_ref()?.get(key).await?;
        let (at, value) = self.0.mac.verify(key, &signed)?.split_first_chunk::<8>()?;
        let at = Timestamp::from_millis(i64::from_be_bytes(*at))?;
        (at <= now && now < at.plus(max_age)).then(|| (at, value.to_vec()))
    }

    /// Stores a value that was true at `at`, unless the key holds a value or a [tombstone](Self::invalidate) already.
    /// Sends the command without waiting for the answer.
    pub fn put(&self, key: &str, at: Timestamp, value: &[u8], lifetime: Duration) {
        let Some(redis) = &self.0.redis else { return };
        let payload = [at.as_millis().to_be_bytes().as_slice(), value].concat();
        redis.put(key, &self.0.mac.sign(key, &payload), lifetime);
    }

    /// Replaces a value by a tombstone, which for `lifetime` keeps a slow reader from storing the old value again.
    pub async fn invalidate(&self, key: &str, lifetime: Duration) {
        if let Some(redis) = &self.0.redis {
            redis.put_tombstone(key, lifetime).await;
        }
    }

    /// Invalidates the copies of the other processes. Call it after the commit.
    pub async fn publish(&self, topic: Topic) {
        if let Some(redis) = &self.0.redis {
            redis.publish(&self.0.mac.sign(BUS, topic.to_string().as_bytes())).await;
        }
    }

    /// Counts one request of `subject` against a rate limit. With Redis the limit holds for all replicas together. The
    /// process's own bucket must allow the request too, so that a lost or forged bucket in Redis cannot lift the limit.
    pub async fn check(&self, policy: &Policy, subject: &str, now: Timestamp) -> RateLimit {
        let name = self.0.mac.name(&format!("{} {subject}", policy.name));
        let local = self.0.memory.check(policy, name, now);
        let Some(redis) = self
            .0
            .redis
            .as_ref()
            .filter(|_| local.allowed || mutations::active("redis-opens-limit"))
        else {
            return local;
        };
        match redis.check(policy, &hex::encode(name), now).await {
            Some(shared) => shared.and(local),
            None => local,
        }
    }

    /// Counts a user as interested in an event, at most once per hour. Sends the command without waiting for the
    /// answer.
    pub fn count(&self, event_id: Uuid, user_id: Uuid, now: Timestamp) {
        let hour = hour(now);
        if self.0.memory.count(event_id, user_id, hour)
            && let Some(redis) = &self.0.redis
        {
            redis.count(event_id, user_id, hour);
        }
    }

    /// The events with the highest counts of the last 24 hours: of all replicas, or of this process if Redis is down.
    pub async fn top(&self, now: Timestamp, most: usize) -> Vec<(Uuid, u64)> {
        let hours = hour(now) + 1 - HOURS..=hour(now);
        let shared = match &self.0.redis {
            Some(redis) => redis.top(hours.clone(), most).await,
            None => None,
        };
        shared.unwrap_or_else(|| self.0.memory.top(hours, most))
    }

    fn read_topic(&self, message: &[u8]) -> Option<Topic> {
        std::str::from_utf8(self.0.mac.verify(BUS, message)?).ok()?.parse().ok()
    }
}

/// The place that the MAC of an invalidation covers.
const BUS: &str = "bus";

/// How many hours [`Cache::top`] covers.
const HOURS: i64 = 24;

fn hour(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(3_600_000)
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("shared", &self.is_shared())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(id) => write!(f, "event {id}"),
            Self::Reward(id) => write!(f, "reward {id}"),
            Self::Plugin(digest) => write!(f, "plugin {digest}"),
            Self::Plugins => f.write_str("plugins "),
            Self::Session(id) => write!(f, "session {id}"),
            Self::User(id) => write!(f, "user {id}"),
            Self::ServiceKey(id) => write!(f, "service-key {id}"),
            Self::Granted(name) => write!(f, "granted {name}"),
        }
    }
}

impl FromStr for Topic {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, name) = text.split_once(' ').ok_or(())?;
        let id = || name.parse().map_err(|_| ());
        match kind {
            "event" => Ok(Self::Event(id()?)),
            "reward" => Ok(Self::Reward(id()?)),
            "plugin" => Ok(Self::Plugin(name.to_owned())),
            "plugins" => Ok(Self::Plugins),
            "session" => Ok(Self::Session(id()?)),
            "user" => Ok(Self::User(id()?)),
            "service-key" => Ok(Self::ServiceKey(id()?)),
            "granted" => Ok(Self::Granted(name.to_owned())),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_survives_a_round_trip_through_text() {
        let id = Uuid::from_u128(7);
        for topic in [
            Topic::Event(id),
            Topic::Reward(id),
            Topic::Plugin("sha256:00".to_owned()),
            Topic::Plugins,
            Topic::Session(id),
            Topic::User(id),
            Topic::ServiceKey(id),
            Topic::Granted("a b c".to_owned()),
        ] {
            assert_eq!(topic.to_string().parse(), Ok(topic));
        }
        for text in ["", "event", "event 7", "weather sunny"] {
            assert!(text.parse::<Topic>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_message_with_a_foreign_mac_is_ignored() {
        let (ours, theirs) = (Cache::in_process(&[1; 32]), Cache::in_process(&[2; 32]));
        let message = ours.0.mac.sign(BUS, b"plugins ");
        assert_eq!(ours.read_topic(&message), Some(Topic::Plugins));
        assert_eq!(theirs.read_topic(&message), None);
        assert_eq!(ours.read_topic(b"plugins "), None);
    }
}
