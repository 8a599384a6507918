//! Streams of activities that are read at the same time. Each holds memory and a part of the database's time, so there are
//! few, and no principal has most of them. Must not know: any protocol.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::auth::{INVALID_TOKEN, LongLived, Pass, Principal};
use crate::problem::{OVERLOADED, Problem, TOO_MANY_STREAMS};

/// Of a process.
const MAX_STREAMS: usize = 8;
/// Of a principal.
const MAX_OF_PRINCIPAL: usize = 3;
/// In seconds.
const RETRY_AFTER: u32 = 5;

type Counts = Arc<Mutex<HashMap<Uuid, usize>>>;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct OpenStreams {
    places: Arc<Semaphore>,
    counts: Counts,
}

impl OpenStreams {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_STREAMS)),
            counts: Arc::default(),
        }
    }

    pub(super) fn open(&self, by: &Principal, long_lived: LongLived) -> Result<StreamPermit, Problem> {
        let share = Share::of(&self.counts, by.id())?;
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            metrics::counter!("meed_requests_shed_total").increment(1);
            let detail =
                format!("The server reads {MAX_STREAMS} bodies of any length already; nothing was done. Retry later.");
            return Err(Problem::new(OVERLOADED, detail).retry_after(RETRY_AFTER));
        };
        Ok(StreamPermit {
            pass: long_lived.own_pass(),
            _share: share,
            _place: place,
        })
    }
}

/// The right to send activities of any number, until it is dropped.
#[derive(Debug)]
pub struct StreamPermit {
    pass: Pass,
    _share: Share,
    _place: OwnedSemaphorePermit,
}

impl StreamPermit {
    /// What has arrived, or why the stream ends: its principal may not go on.
    pub async fn while_valid<T>(&self, arrived: impl Future<Output = T>) -> Result<T, Problem> {
        tokio::select! {
            biased;
            () = self.pass.ended() => Err(Problem::new(
                INVALID_TOKEN,
                "The access token or service key ended, or may do something else than when the stream began. Send the rest \
                with a valid one.",
            )),
            arrived = arrived => Ok(arrived),
        }
    }
}

/// One of the streams of a principal.
#[derive(Debug)]
struct Share {
    counts: Counts,
    of: Uuid,
}

impl Share {
    fn of(counts: &Counts, of: Uuid) -> Result<Self, Problem> {
        let mut open = counts.lock();
        let count = open.entry(of).or_default();
        if *count >= MAX_OF_PRINCIPAL {
            let detail = format!(
                "You send {MAX_OF_PRINCIPAL} bodies of any length already; nothing was done. Wait until one of them ends."
            );
            return Err(Problem::new(TOO_MANY_STREAMS, detail).retry_after(RETRY_AFTER));
        }
        *count += 1;
        drop(open);
        Ok(Self {
            counts: Arc::clone(counts),
            of,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.counts.lock();
        if let Some(count) = open.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.of);
            }
        }
    }
}
