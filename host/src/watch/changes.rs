//! The messages of one user: those after a cursor, then each as it arrives, exactly once and in order.

use std::collections::VecDeque;
use std::sync::Arc;

use uuid::Uuid;

use super::change::Change;
use super::listeners::{Closed, Interest, Listener, Watch};
use super::{Cursor, Full, WINDOW};
use crate::clock::Timestamp;
use crate::db::Result;
use crate::outbox;

/// Messages that a client may have missed. After more it starts again from the current state.
const MISSED: i64 = 1_000;

/// The changes of one user.
pub struct Changes {
    listener: Listener,
    cursor: Cursor,
    /// When `missed` was read. Everything that was visible then is among it, or was sent before.
    read_at: Timestamp,
    missed: VecDeque<Arc<Change>>,
    is_reset: bool,
}

impl Watch {
    /// The changes after `since`; without it, from now on.
    pub async fn changes(&self, user_id: Uuid, since: Option<Cursor>) -> Result<std::result::Result<Changes, Full>> {
        // First, so that every message is either read below or handed out.
        let listener = match self.listen(user_id, Interest::Messages) {
            Ok(listener) => listener,
            Err(full) => return Ok(Err(full)),
        };
        let mut changes = Changes {
            listener,
            cursor: Cursor::before(self.0.clock.now()),
            read_at: self.0.clock.now(),
            missed: VecDeque::new(),
            is_reset: false,
        };
        changes.begin(since).await?;
        Ok(Ok(changes))
    }
}

impl Changes {
    async fn begin(&mut self, since: Option<Cursor>) -> Result<()> {
        let inner = Arc::clone(&self.listener.watch().0);
        if let Some(since) = since {
            let kept = self.read_at.minus(inner.retention).first_id()..self.read_at.plus(WINDOW).first_id();
            let messages = if kept.contains(&since.from()) {
                let messages = outbox::of_user(&inner.db, self.listener.user_id(), since.from(), MISSED + 1).await?;
                Some(messages).filter(|messages| i64::try_from(messages.len()).is_ok_and(|count| count <= MISSED))
            } else {
                None
            };
            if let Some(messages) = messages {
                self.cursor = since;
                let missed = messages.into_iter().filter_map(Change::of);
                let mut missed: Vec<Change> = missed.filter(|change| !self.cursor.has(change.id)).collect();
                missed.sort_by_key(Change::order);
                self.missed = missed.into_iter().map(Arc::new).collect();
                self.settle();
                return Ok(());
            }
            self.is_reset = true;
        }
        let from = self.cursor.from();
        // What was visible before counts as sent. Messages beyond this number are still sent, late but once.
        let visible = outbox::of_user(&inner.db, self.listener.user_id(), from, MISSED).await?;
        for message in visible {
            self.cursor.record(message.id);
        }
        Ok(())
    }

    /// Whether messages after `since` are missing: the client needs the current state.
    pub fn is_reset(&self) -> bool {
        self.is_reset
    }

    /// After which a client continues that has all changes so far.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The next change; it is in [`Self::cursor`] from then on. Safe to drop and to call again.
    pub async fn next(&mut self) -> std::result::Result<Arc<Change>, Closed> {
        if let Some(change) = self.missed.pop_front() {
            self.cursor.record(change.id);
            self.settle();
            return Ok(change);
        }
        loop {
            let change = self.listener.next().await?;
            if !self.cursor.has(change.id) {
                self.cursor.record(change.id);
                return Ok(change);
            }
        }
    }

    /// Notes for the metrics why it is about to be dropped.
    pub fn close(&mut self, why: Closed) {
        self.listener.close(why);
    }

    fn settle(&mut self) {
        if self.missed.is_empty() {
            self.cursor.settle(self.read_at.minus(WINDOW));
        }
    }
}
