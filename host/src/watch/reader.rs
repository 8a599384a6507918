//! The task that reads new messages of the outbox, once for all listeners of the process.
//!
//! It reads by id, in steps. Messages do not become visible in the order of their ids, so it also looks again at a part of
//! what it has read, the longer ago the less often.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::change::{Change, KINDS};
use super::{WINDOW, Watch};
use crate::background::{Context, Next, Task};
use crate::clock::Timestamp;
use crate::outbox::{self, Belonging};

/// Messages that one statement reads.
const AT_ONCE: i64 = 1_000;

/// How often the reader looks again, and how far back.
const AGAIN: [(Duration, Duration); 2] = [
    (Duration::from_secs(1), Duration::from_secs(3)),
    (Duration::from_secs(15), WINDOW),
];

/// Between two reads, however many claims are committed meanwhile.
const PAUSE: Duration = Duration::from_millis(25);

/// Without listeners the task waits to be woken.
const IDLE: Duration = Duration::from_hours(1);

/// Whose progress a message of this kind may change, besides that of a user: everyone's who watches its subject.
const OF_SUBJECTS: &[&str] = &[outbox::EVENT_CHANGED, outbox::EVENT_DELETED];

pub struct Reader {
    watch: Watch,
    /// The end of what was read; `None` without listeners.
    end: Option<Uuid>,
    /// What was read within [`WINDOW`].
    seen: BTreeSet<Uuid>,
    /// When each of [`AGAIN`] is due.
    due: [Instant; AGAIN.len()],
    read_at: Instant,
}

impl Watch {
    /// The task that reads for this process.
    pub fn reader(&self) -> Reader {
        Reader {
            watch: self.clone(),
            end: None,
            seen: BTreeSet::new(),
            due: [Instant::now(); AGAIN.len()],
            read_at: Instant::now(),
        }
    }
}

impl Task for Reader {
    async fn run(&mut self, _: &Context) -> anyhow::Result<Next> {
        if self.watch.is_idle() {
            self.end = None;
            self.seen = BTreeSet::new();
            return Ok(Next::After(IDLE));
        }
        self.read_at = Instant::now();
        let now = self.watch.0.clock.now();
        let mut from = self.from(now);
        loop {
            let rows = outbox::tail(&self.watch.0.db, from, AT_ONCE).await?;
            let is_last = i64::try_from(rows.len()).is_ok_and(|count| count < AT_ONCE);
            let Some(last) = rows.last().map(|row| row.id) else {
                break;
            };
            self.tell(rows).await?;
            // Never behind the clock: a process whose clock is ahead mints ids that are later than those of others.
            self.end = self.end.max(Some(last.min(now.first_id())));
            if is_last {
                break;
            }
            from = last;
        }
        self.seen = self.seen.split_off(&now.minus(WINDOW).first_id());
        Ok(Next::Period)
    }

    async fn woken(&mut self) {
        self.watch.0.wake.notified().await;
        sleep_until(self.read_at + PAUSE).await;
    }
}

impl Reader {
    /// From where to read now.
    fn from(&mut self, now: Timestamp) -> Uuid {
        let Some(mut from) = self.end else {
            let from = now.minus(WINDOW).first_id();
            self.end = Some(from);
            return from;
        };
        for ((every, back), due) in AGAIN.into_iter().zip(&mut self.due) {
            if *due <= Instant::now() {
                *due = Instant::now() + every;
                from = from.min(now.minus(back).first_id());
            }
        }
        from
    }

    async fn tell(&mut self, mut rows: Vec<Belonging>) -> anyhow::Result<()> {
        rows.retain(|row| !self.seen.contains(&row.id));
        let subjects = rows.iter().filter(|row| OF_SUBJECTS.contains(&row.kind.as_str()));
        let subjects: HashSet<Uuid> = subjects.filter_map(|row| row.subject_id).collect();
        let users = self.watch.users_among(rows.iter().filter_map(|row| row.user_id));
        let wanted = rows.iter().filter(|row| KINDS.contains(&row.kind.as_str()));
        let wanted = wanted.filter(|row| row.user_id.is_some_and(|user_id| users.contains(&user_id)));
        let wanted: Vec<Uuid> = wanted.map(|row| row.id).collect();
        let messages = outbox::messages(&self.watch.0.db, &self.watch.0.db, &wanted).await?;
        let mut changes: Vec<Change> = messages.into_iter().filter_map(Change::of).collect();
        changes.sort_by_key(Change::order);
        self.watch.hand_out(changes);
        if !subjects.is_empty() {
            self.watch.touch_subjects(&subjects);
        }
        // Last, so that a failed read is repeated.
        self.seen.extend(rows.into_iter().map(|row| row.id));
        Ok(())
    }
}
