//! The listeners of a process, by user, and the bounds on them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use strum::IntoStaticStr;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::change::Change;
use crate::clock::Clock;
use crate::config;
use crate::db::Db;
use crate::problem::{Problem, STREAMS_FULL, TOO_MANY_STREAMS};

/// Changes that wait for a listener that is slow to take them.
const WAITING: usize = 64;

/// What a listener receives besides the messages of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Messages,
    /// [`Watch::touch`] of the user, and changes of this subject: an event.
    Touches(Uuid),
}

/// Why a listener gets no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Closed {
    /// It ended by itself: its client is gone.
    Client,
    /// It did not take its changes in time.
    Slow,
    /// It reached the maximum age.
    Age,
    /// Its token or session has ended, or the account may no longer watch.
    Unauthorized,
    /// What it watches cannot be read now, or no longer exists.
    Error,
    /// The process shuts down.
    Shutdown,
}

/// Why there is no place for another listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    User(usize),
    Process(usize),
    Shutdown,
}

/// In seconds.
const RETRY_AFTER: u32 = 5;

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        let (code, detail) = match full {
            Full::User(most) => (
                TOO_MANY_STREAMS,
                format!("The user has {most} open streams, the maximum; close one of them."),
            ),
            Full::Process(most) => (
                STREAMS_FULL,
                format!("The server has {most} open streams, the maximum; retry later, or read without a stream."),
            ),
            Full::Shutdown => (
                STREAMS_FULL,
                "The server is shutting down; open the stream again.".to_owned(),
            ),
        };
        Self::new(code, detail).retry_after(RETRY_AFTER)
    }
}

/// The listeners of this process. Cheap to clone.
#[derive(Clone)]
pub struct Watch(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub db: Db,
    pub clock: Clock,
    /// How long messages are kept, at least.
    pub retention: Duration,
    pub max: usize,
    pub max_per_user: usize,
    pub max_age: Duration,
    /// How many there are. The only cost of a claim or an activity while there are none.
    count: AtomicUsize,
    /// Wakes the reader: there may be new messages, or the first listener.
    pub wake: Notify,
    listeners: Mutex<Listeners>,
}

#[derive(Default)]
struct Listeners {
    is_shut_down: bool,
    next_id: u64,
    by_user: HashMap<Uuid, Vec<Entry>>,
}

struct Entry {
    id: u64,
    interest: Interest,
    mailbox: Arc<Mailbox>,
}

/// What waits for a listener.
#[derive(Default)]
struct Mailbox {
    mail: Mutex<Mail>,
    arrived: Notify,
}

#[derive(Default)]
struct Mail {
    changes: VecDeque<Arc<Change>>,
    is_touched: bool,
    closed: Option<Closed>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("count", &self.0.count)
            .finish_non_exhaustive()
    }
}

impl Watch {
    pub fn new(settings: &config::Streams, retention: Duration, db: Db, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            db,
            clock,
            retention,
            max: settings.max,
            max_per_user: settings.max_per_user,
            max_age: settings.max_age,
            count: AtomicUsize::new(0),
            wake: Notify::new(),
            listeners: Mutex::default(),
        }))
    }

    pub fn is_idle(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) == 0
    }

    /// This process committed messages: the reader need not wait for its next period.
    pub fn committed(&self) {
        if !self.is_idle() {
            self.0.wake.notify_one();
        }
    }

    /// Something else changed that the progress of these users may depend on.
    pub fn touch(&self, users: impl IntoIterator<Item = Uuid>) {
        if self.is_idle() {
            return;
        }
        let listeners = self.0.listeners.lock();
        for user_id in users {
            for entry in listeners.by_user.get(&user_id).into_iter().flatten() {
                if matches!(entry.interest, Interest::Touches(_)) {
                    entry.mailbox.touch();
                }
            }
        }
    }

    /// The users with a listener that [`Self::touch`] reaches.
    pub fn touchable(&self) -> Vec<Uuid> {
        let listeners = self.0.listeners.lock();
        let is_touchable = |entry: &Entry| matches!(entry.interest, Interest::Touches(_));
        let users = listeners.by_user.iter();
        let users = users.filter(|(_, entries)| entries.iter().any(is_touchable));
        users.map(|(user_id, _)| *user_id).collect()
    }

    /// Ends all listeners, and admits no more.
    pub fn shut_down(&self) {
        let mut listeners = self.0.listeners.lock();
        listeners.is_shut_down = true;
        for entry in listeners.by_user.values().flatten() {
            entry.mailbox.close(Closed::Shutdown);
        }
    }

    /// A place for a listener of this user.
    pub fn listen(&self, user_id: Uuid, interest: Interest) -> Result<Listener, Full> {
        let mailbox = Arc::new(Mailbox::default());
        let mut listeners = self.0.listeners.lock();
        if listeners.is_shut_down {
            return Err(Full::Shutdown);
        }
        if self.0.count.load(Ordering::Relaxed) >= self.0.max {
            return Err(Full::Process(self.0.max));
        }
        let id = listeners.next_id;
        listeners.next_id += 1;
        let own = listeners.by_user.entry(user_id).or_default();
        if own.len() >= self.0.max_per_user {
            return Err(Full::User(self.0.max_per_user));
        }
        own.push(Entry {
            id,
            interest,
            mailbox: Arc::clone(&mailbox),
        });
        let open = self.0.count.fetch_add(1, Ordering::Relaxed) + 1;
        gauge(open);
        drop(listeners);
        self.0.wake.notify_one();
        Ok(Listener {
            watch: self.clone(),
            user_id,
            id,
            mailbox,
            until: Instant::now() + self.0.max_age,
            closed: Closed::Client,
        })
    }

    /// The users with listeners.
    pub(super) fn users_among(&self, users: impl Iterator<Item = Uuid>) -> HashSet<Uuid> {
        let listeners = self.0.listeners.lock();
        users
            .filter(|user_id| listeners.by_user.contains_key(user_id))
            .collect()
    }

    /// Hands changes to the listeners of their users.
    pub(super) fn hand_out(&self, changes: impl IntoIterator<Item = Change>) {
        let listeners = self.0.listeners.lock();
        for change in changes {
            let change = Arc::new(change);
            for entry in listeners.by_user.get(&change.user_id).into_iter().flatten() {
                match entry.interest {
                    Interest::Messages => entry.mailbox.put(&change),
                    Interest::Touches(_) => entry.mailbox.touch(),
                }
            }
        }
    }

    /// Touches the listeners of all users that are interested in one of these subjects.
    pub(super) fn touch_subjects(&self, subjects: &HashSet<Uuid>) {
        let listeners = self.0.listeners.lock();
        for entry in listeners.by_user.values().flatten() {
            if matches!(entry.interest, Interest::Touches(subject) if subjects.contains(&subject)) {
                entry.mailbox.touch();
            }
        }
    }
}

impl Mailbox {
    fn put(&self, change: &Arc<Change>) {
        let mut mail = self.mail.lock();
        if mail.closed.is_some() {
            return;
        }
        if mail.changes.len() >= WAITING {
            mail.closed = Some(Closed::Slow);
            mail.changes = VecDeque::new();
        } else {
            mail.changes.push_back(Arc::clone(change));
        }
        drop(mail);
        self.arrived.notify_one();
    }

    fn touch(&self) {
        self.mail.lock().is_touched = true;
        self.arrived.notify_one();
    }

    fn close(&self, why: Closed) {
        self.mail.lock().closed.get_or_insert(why);
        self.arrived.notify_one();
    }
}

/// A place among the listeners, until it is dropped.
pub struct Listener {
    watch: Watch,
    user_id: Uuid,
    id: u64,
    mailbox: Arc<Mailbox>,
    until: Instant,
    /// For the metrics.
    closed: Closed,
}

impl Listener {
    /// The next change. Safe to drop and to call again.
    pub(super) async fn next(&mut self) -> Result<Arc<Change>, Closed> {
        self.take(|mail| mail.changes.pop_front()).await
    }

    /// Waits until the listener was touched after the last call. Safe to drop and to call again.
    pub async fn touched(&mut self) -> Result<(), Closed> {
        self.take(|mail| std::mem::take(&mut mail.is_touched).then_some(()))
            .await
    }

    /// What is read from now on includes every touch so far.
    pub fn clear_touch(&self) {
        self.mailbox.mail.lock().is_touched = false;
    }

    async fn take<T>(&mut self, mut from: impl FnMut(&mut Mail) -> Option<T>) -> Result<T, Closed> {
        loop {
            {
                let mut mail = self.mailbox.mail.lock();
                if let Some(closed) = mail.closed {
                    self.closed = closed;
                    return Err(closed);
                }
                if let Some(taken) = from(&mut mail) {
                    return Ok(taken);
                }
            }
            tokio::select! {
                () = self.mailbox.arrived.notified() => {}
                () = tokio::time::sleep_until(self.until) => {
                    self.closed = Closed::Age;
                    return Err(Closed::Age);
                }
            }
        }
    }

    /// Notes for the metrics why it is about to be dropped.
    pub fn close(&mut self, why: Closed) {
        self.closed = why;
    }

    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(super) fn user_id(&self) -> Uuid {
        self.user_id
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = self.watch.0.listeners.lock();
        if let Some(own) = listeners.by_user.get_mut(&self.user_id) {
            own.retain(|entry| entry.id != self.id);
            if own.is_empty() {
                listeners.by_user.remove(&self.user_id);
            }
        }
        let open = self.watch.0.count.fetch_sub(1, Ordering::Relaxed) - 1;
        gauge(open);
        drop(listeners);
        let reason: &'static str = self.closed.into();
        metrics::counter!("meed_streams_closed_total", "reason" => reason).increment(1);
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn gauge(open: usize) {
    metrics::gauge!("meed_streams_open").set(open as f64);
}
