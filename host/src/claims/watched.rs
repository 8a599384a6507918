//! The reward requests and the progress of one user, as they change. Any protocol can tell them to a client.
//!
//! `watch` says that something changed; what is told is read then, so a change that was overtaken by the next one is told in
//! its newest form. All streams together read and evaluate only a few at a time, so that they do not take what claims need.
//! Must not know: who may watch, and the protocol.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};
use uuid::Uuid;

use super::codes::OwnCodes;
use super::error::ClaimError;
use super::model::{EventProgress, RewardRequest};
use super::progress::Progress;
use super::requests::Requests;
use super::store::Filter;
use crate::clock::{Clock, Timestamp};
use crate::watch::{Changes, Closed, Cursor, Full, Interest, Listener, Watch};

/// Requests that streams read at the same time, and progresses that they evaluate.
const READS: usize = 4;
const EVALUATIONS: usize = 2;

/// The requests that a client gets that missed too much.
const NEWEST: u32 = 100;

/// Between two evaluations for one stream.
const PAUSE: Duration = Duration::from_secs(1);

/// When a client opens a stream again after it ended.
pub const RETRY: Duration = Duration::from_secs(2);

/// After a shutdown, clients come back within this time after [`RETRY`], not all at once.
const SPREAD_MS: u64 = 5_000;

/// Longer than a process uses a copy of an event that another process has changed.
const OUTDATED: Duration = Duration::from_secs(3);

/// Cheap to clone.
#[derive(Clone)]
pub struct Watched {
    pub(super) watch: Watch,
    pub(super) clock: Clock,
    pub(super) requests: Requests,
    pub(super) codes: OwnCodes,
    pub(super) progress: Arc<Progress>,
    reads: Arc<Semaphore>,
    evaluations: Arc<Semaphore>,
}

/// The content of a stream of reward requests.
#[derive(Debug)]
pub enum RequestEvent {
    /// The client missed more than can be told again. The newest requests follow.
    Reset,
    /// A request, as it is now.
    Request(Box<RewardRequest>),
}

impl Watched {
    pub(super) fn new(
        (watch, clock): (Watch, Clock),
        requests: Requests,
        codes: OwnCodes,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            watch,
            clock,
            requests,
            codes,
            progress,
            reads: Arc::new(Semaphore::new(READS)),
            evaluations: Arc::new(Semaphore::new(EVALUATIONS)),
        }
    }

    /// When a client opens a stream again that ended with the process.
    pub fn retry_after_shutdown(&self) -> Duration {
        RETRY + Duration::from_millis(u64::from_be_bytes(self.clock.random()) % SPREAD_MS)
    }

    /// The changes of a user's reward requests after `since`, or from now on. `with_codes`: for the user itself.
    pub async fn requests(
        &self,
        user_id: Uuid,
        since: Option<Cursor>,
        with_codes: bool,
    ) -> Result<Result<RequestChanges, Full>, ClaimError> {
        let changes = match self.watch.changes(user_id, since).await? {
            Ok(changes) => changes,
            Err(full) => return Ok(Err(full)),
        };
        let mut waiting = VecDeque::new();
        if changes.is_reset() {
            let filter = Filter {
                user_id: Some(user_id),
                ..Filter::default()
            };
            let mut newest = self.requests.list(filter, None, NEWEST).await?;
            newest.truncate(NEWEST as usize);
            waiting.push_back(RequestEvent::Reset);
            waiting.extend(newest.into_iter().rev().map(Box::new).map(RequestEvent::Request));
        }
        Ok(Ok(RequestChanges {
            watched: self.clone(),
            changes,
            waiting,
            with_codes,
        }))
    }

    /// The progress of a user in an event: now, unless it is the one named by `since`, and after each change. An error says
    /// why there is none.
    pub async fn progress(
        &self,
        user_id: Uuid,
        event_id: Uuid,
        since: Option<ProgressId>,
    ) -> Result<Result<ProgressChanges, Full>, ClaimError> {
        let listener = match self.watch.listen(user_id, Interest::Touches(event_id)) {
            Ok(listener) => listener,
            Err(full) => return Ok(Err(full)),
        };
        let mut changes = ProgressChanges {
            watched: self.clone(),
            listener,
            user: (user_id, event_id),
            told: since,
            next: None,
            evaluated_at: Instant::now(),
            due_at: None,
            again_at: None,
        };
        changes.evaluate().await?;
        Ok(Ok(changes))
    }
}

/// The changes of a user's reward requests.
pub struct RequestChanges {
    watched: Watched,
    changes: Changes,
    waiting: VecDeque<RequestEvent>,
    with_codes: bool,
}

impl RequestChanges {
    /// The id that a client continues after, once it has everything so far. `None` within the newest requests after a reset: a
    /// client that has some of them needs another reset.
    pub fn position(&self) -> Option<String> {
        self.waiting.is_empty().then(|| self.changes.cursor().to_string())
    }

    /// Waits for the next event.
    pub async fn next(&mut self) -> Result<RequestEvent, Closed> {
        let mut event = match self.waiting.pop_front() {
            Some(event) => event,
            None => self.change().await?,
        };
        if let RequestEvent::Request(request) = &mut event
            && self.with_codes
        {
            let shown = self.watched.codes.show([&mut **request]).await;
            self.or_close(shown)?;
        }
        metrics::counter!("meed_stream_events_total", "stream" => "reward-requests").increment(1);
        Ok(event)
    }

    /// Notes for the metrics why it is about to be dropped.
    pub fn close(&mut self, why: Closed) {
        self.changes.close(why);
    }

    async fn change(&mut self) -> Result<RequestEvent, Closed> {
        loop {
            let change = self.changes.next().await?;
            let permit = self.watched.reads.clone().acquire_owned().await;
            let request = self.watched.requests.get(change.request_id).await;
            drop(permit);
            match request {
                Ok(request) => return Ok(RequestEvent::Request(Box::new(request))),
                // The retention of refused requests may be shorter than that of messages.
                Err(ClaimError::NotFound(_)) => {}
                Err(error) => return self.or_close(Err(error)),
            }
        }
    }

    /// A client that continues after the last event that it got misses nothing.
    fn or_close<T>(&mut self, result: Result<T, ClaimError>) -> Result<T, Closed> {
        result.map_err(|error| {
            tracing::warn!(%error, "a stream of reward requests ends");
            self.changes.close(Closed::Error);
            Closed::Error
        })
    }
}

/// Names what a progress says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressId(String);

impl ProgressId {
    /// The bytes of the digest that it consists of.
    const BYTES: usize = 16;

    fn of(progress: &EventProgress) -> Result<Self, ClaimError> {
        let digest = digest(&SHA256, &serde_json::to_vec(progress)?);
        let bytes = digest.as_ref().get(..Self::BYTES).unwrap_or_default();
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        if bytes.len() == Self::BYTES {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(80).collect();
        Err(format!(
            "{shown:?} is not an id of this stream; send the last id that you received, unchanged, or none"
        ))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The progress of a user in an event, as it changes.
pub struct ProgressChanges {
    watched: Watched,
    listener: Listener,
    /// The user and the event.
    user: (Uuid, Uuid),
    told: Option<ProgressId>,
    /// Evaluated and not told yet.
    next: Option<(ProgressId, EventProgress)>,
    evaluated_at: Instant,
    /// When the time alone may change the progress.
    due_at: Option<Instant>,
    /// When to look again after a change, because copies in memory may be older than it.
    again_at: Option<Instant>,
}

impl ProgressChanges {
    /// Waits until the progress is another one than before.
    pub async fn next(&mut self) -> Result<(ProgressId, EventProgress), Closed> {
        loop {
            if let Some((id, progress)) = self.next.take() {
                self.told = Some(id.clone());
                metrics::counter!("meed_stream_events_total", "stream" => "progress").increment(1);
                return Ok((id, progress));
            }
            let due_at = self.due_at.into_iter().chain(self.again_at.take()).min();
            let touched = match due_at {
                Some(due_at) => timeout_at(due_at, self.listener.touched()).await,
                None => Ok(self.listener.touched().await),
            };
            if let Ok(touched) = touched {
                touched?;
                self.again_at = Some(Instant::now() + OUTDATED);
            }
            sleep_until(self.evaluated_at + PAUSE).await;
            self.listener.clear_touch();
            if let Err(error) = self.evaluate().await {
                tracing::debug!(%error, "a stream of progress ends");
                self.close(Closed::Error);
                return Err(Closed::Error);
            }
        }
    }

    /// Notes for the metrics why it is about to be dropped.
    pub fn close(&mut self, why: Closed) {
        self.listener.close(why);
    }

    async fn evaluate(&mut self) -> Result<(), ClaimError> {
        let (user_id, event_id) = self.user;
        let permit = self.watched.evaluations.clone().acquire_owned().await;
        let progress = self.watched.progress.of(user_id, event_id).await;
        drop(permit);
        self.evaluated_at = Instant::now();
        let progress = progress?;
        let id = ProgressId::of(&progress)?;
        self.due_at = progress.retry_at.and_then(|at| self.instant(at));
        self.next = (self.told.as_ref() != Some(&id)).then_some((id, progress));
        Ok(())
    }

    /// `None`: it is over.
    fn instant(&self, at: Timestamp) -> Option<Instant> {
        let rest = at.as_millis() - self.watched.clock.now().as_millis();
        let rest = u64::try_from(rest).ok().filter(|rest| *rest > 0)?;
        Instant::now().checked_add(Duration::from_millis(rest))
    }
}
