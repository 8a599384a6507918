//! What replicas share for speed, in Redis or Valkey, and what one process keeps for itself where there is none.
//!
//! Never the truth: an answer may be missing, late, old or made up by whoever can write to Redis, and whatever is built
//! on this must stay correct then. So a value is authenticated and carries when it was true; a call waits a tenth of a
//! second at most, and none at all while Redis is known to be gone; and no call has an error, only no answer.
//!
//! Must not know: any feature, what a value means, HTTP.

mod gcra;
mod memory;
mod redis;
mod seal;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use uuid::Uuid;

pub use self::redis::UrlError;
pub use gcra::{Policy, Verdict};

use self::memory::Memory;
use self::redis::Redis;
use self::seal::Seal;
use crate::clock::Timestamp;

/// Something that processes keep a copy of and that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    Event(Uuid),
    Reward(Uuid),
    /// By its digest.
    Plugin(String),
    /// All of them, as when a key is revoked.
    Plugins,
    /// It is over.
    Session(Uuid),
    /// A repeat that was remembered, by its name.
    Hint(String),
}

/// What a process learns from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Changed(Topic),
    /// The connection is new, so some news may have been missed: whatever is kept may be old.
    Unknown,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    seal: Seal,
    memory: Memory,
    redis: Option<Redis>,
}

impl Cache {
    /// `url`: `redis:`, `rediss:` (TLS), `redis-cluster:` or `rediss-cluster:`; empty for none. `secret` is the same for
    /// all replicas and known to nobody else. Connects once [`Cache::next`] is asked.
    pub fn new(url: &SecretString, secret: &[u8; 32]) -> Result<Self, UrlError> {
        Ok(Self::on(Redis::new(url)?, secret))
    }

    /// Shares nothing.
    pub fn in_process(secret: &[u8; 32]) -> Self {
        Self::on(None, secret)
    }

    fn on(redis: Option<Redis>, secret: &[u8; 32]) -> Self {
        Self(Arc::new(Inner {
            seal: Seal::new(secret),
            memory: Memory::new(),
            redis,
        }))
    }

    /// Keeps the connection and waits for what other processes tell. To be asked again and again: nothing is shared
    /// otherwise.
    pub async fn next(&self) -> News {
        let Some(redis) = &self.0.redis else {
            return std::future::pending().await;
        };
        loop {
            let Some(message) = redis.next().await else {
                return News::Unknown;
            };
            // Only what a replica of ours sealed, and what this release knows.
            if let Some(topic) = self.read_topic(&message) {
                return News::Changed(topic);
            }
        }
    }

    /// Whether other processes are reached right now, and so what they change is heard at once.
    pub fn is_shared(&self) -> bool {
        self.0.redis.as_ref().is_some_and(Redis::is_up)
    }

    /// A value that a replica put there, and when it was true: not in the future, and less than this long ago.
    pub async fn get(&self, key: &str, now: Timestamp, max_age: Duration) -> Option<(Timestamp, Vec<u8>)> {
        let sealed = self.0.redis.as_ref()?.get(key).await?;
        let (at, value) = self.0.seal.open(key, &sealed)?.split_first_chunk::<8>()?;
        let at = Timestamp::from_millis(i64::from_be_bytes(*at))?;
        (at <= now && now < at.plus(max_age)).then(|| (at, value.to_vec()))
    }

    /// Keeps what was true at an instant, unless there is something already or it was [forgotten](Self::forget). Waits for
    /// nothing.
    pub fn put(&self, key: &str, at: Timestamp, value: &[u8], lifetime: Duration) {
        let Some(redis) = &self.0.redis else { return };
        let payload = [at.as_millis().to_be_bytes().as_slice(), value].concat();
        redis.put(key, &self.0.seal.seal(key, &payload), lifetime);
    }

    /// Removes a value, and keeps those who read before this from putting it back for so long.
    pub async fn forget(&self, key: &str, barred: Duration) {
        if let Some(redis) = &self.0.redis {
            redis.forget(key, barred).await;
        }
    }

    /// Tells the other processes, once what was changed is committed.
    pub async fn publish(&self, topic: Topic) {
        if let Some(redis) = &self.0.redis {
            redis
                .publish(&self.0.seal.seal(BUS, topic.to_string().as_bytes()))
                .await;
        }
    }

    /// Asks to do something that is limited. With Redis the limit is for all replicas together; this process's own count
    /// stands below it, so that a Redis that is gone or lies opens nothing.
    pub async fn take(&self, policy: &Policy, who: &str, now: Timestamp) -> Verdict {
        let name = self.0.seal.name(&format!("{} {who}", policy.name));
        let here = self.0.memory.take(policy, name, now);
        let Some(redis) = self.0.redis.as_ref().filter(|_| here.granted) else {
            return here;
        };
        match redis.take(policy, &hex::encode(name), now).await {
            Some(everywhere) => everywhere.and(here),
            None => here,
        }
    }

    /// Counts something that a user did with an event, once an hour each. Waits for nothing.
    pub fn count(&self, event_id: Uuid, user_id: Uuid, now: Timestamp) {
        let hour = hour(now);
        if self.0.memory.count(event_id, user_id, hour)
            && let Some(redis) = &self.0.redis
        {
            redis.count(event_id, user_id, hour);
        }
    }

    /// The events that were counted most in the last day: by all replicas, or by this one if they cannot be asked.
    pub async fn top(&self, now: Timestamp, most: usize) -> Vec<(Uuid, u64)> {
        let hours = hour(now) + 1 - HOURS..=hour(now);
        let shared = match &self.0.redis {
            Some(redis) => redis.top(hours.clone(), most).await,
            None => None,
        };
        shared.unwrap_or_else(|| self.0.memory.top(hours, most))
    }

    fn read_topic(&self, message: &[u8]) -> Option<Topic> {
        std::str::from_utf8(self.0.seal.open(BUS, message)?).ok()?.parse().ok()
    }
}

/// What the seal of a message says besides the message.
const BUS: &str = "bus";

/// How many hours "lately" is.
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
            Self::Hint(name) => write!(f, "hint {name}"),
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
            "hint" => Ok(Self::Hint(name.to_owned())),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_reads_as_it_was_written() {
        let id = Uuid::from_u128(7);
        for topic in [
            Topic::Event(id),
            Topic::Reward(id),
            Topic::Plugin("sha256:00".to_owned()),
            Topic::Plugins,
            Topic::Session(id),
            Topic::Hint("a b c".to_owned()),
        ] {
            assert_eq!(topic.to_string().parse(), Ok(topic));
        }
        for text in ["", "event", "event 7", "weather sunny"] {
            assert!(text.parse::<Topic>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_message_of_a_replica_is_heard() {
        let (ours, theirs) = (Cache::in_process(&[1; 32]), Cache::in_process(&[2; 32]));
        let message = ours.0.seal.seal(BUS, b"plugins ");
        assert_eq!(ours.read_topic(&message), Some(Topic::Plugins));
        assert_eq!(theirs.read_topic(&message), None);
        assert_eq!(ours.read_topic(b"plugins "), None);
    }
}
