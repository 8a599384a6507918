//! Appends queued rows to the log, and signs checkpoints. One process at a time does so, by a lease; every transaction names
//! the fence. A step is one transaction, so a process can be killed at any time.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::leaf::Leaf;
use super::source::Sources;
use super::store::{self, CheckpointRow};
use super::tiles;
use crate::background::lease::Lease;
use crate::background::{Context, IDLE_INTERVAL, Next, Task};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, Tx};
use crate::keys::Keyring;
use crate::merkle::Range;
use crate::outbox::{self, AUDIT_CHECKPOINT, Message};

/// Rows of each source that one step appends.
const AT_ONCE: i64 = 256;
/// Rows that the metric counts.
const MOST_COUNTED: i64 = 100_000;
/// Between two checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_mins(1);
/// How long all checkpoints are kept. The first one of each day stays.
const CHECKPOINTS_KEPT: Duration = Duration::from_hours(30 * 24);
/// Checkpoints that one step deletes.
const DELETED_AT_ONCE: i64 = 1_000;
/// How often the queue is counted for the metric.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// Cheap to clone.
#[derive(Clone)]
pub struct Sequencer {
    db: Db,
    clock: Clock,
    keys: Arc<Keyring>,
    origin: Arc<str>,
    sources: Sources,
}

/// The task that appends.
pub struct Appending {
    sequencer: Sequencer,
    /// Held while there is something to do.
    lease: Option<Lease>,
    counted_at: Option<Timestamp>,
}

/// The name of the log of an installation with this issuer: a URL without a scheme, as `tlog-checkpoint` recommends.
pub fn origin(issuer: &str) -> String {
    let issuer = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    let issuer = issuer
        .trim_end_matches('/')
        .replace(|letter: char| letter.is_whitespace() || letter == '+', "-");
    format!("{issuer}/transparency-log")
}

impl Sequencer {
    /// `origin` names the log in its checkpoints.
    pub fn new((db, clock): (Db, Clock), keys: Arc<Keyring>, origin: String, sources: Sources) -> Self {
        Self {
            db,
            clock,
            keys,
            origin: origin.into(),
            sources,
        }
    }

    pub fn task(&self) -> Appending {
        Appending {
            sequencer: self.clone(),
            lease: None,
            counted_at: None,
        }
    }

    /// Appends everything that is queued and signs a checkpoint, if it can have the lease. Returns whether it had it.
    pub async fn append_all(&self) -> anyhow::Result<bool> {
        store::create(&self.db).await?;
        let Some(lease) = Lease::acquire(&self.db, &self.clock, &store::LEASES, store::NAME).await? else {
            return Ok(false);
        };
        while self.step(lease.fence()).await? {}
        self.checkpoint(lease.fence(), Duration::ZERO).await?;
        lease.release().await?;
        Ok(true)
    }

    /// The next queued rows, by the name of their source. Rows that only a later release knows stay queued for it.
    async fn queued(&self) -> anyhow::Result<Vec<(&'static str, Vec<Uuid>)>> {
        let mut queued = Vec::new();
        for name in self.sources.iter().flat_map(|source| source.names()) {
            let ids = store::queued(&self.db, name, AT_ONCE).await?;
            if !ids.is_empty() {
                queued.push((*name, ids));
            }
        }
        Ok(queued)
    }

    /// Appends the next queued rows, and returns whether there are more.
    async fn step(&self, fence: i64) -> anyhow::Result<bool> {
        let queued = self.queued().await?;
        if queued.is_empty() {
            return Ok(false);
        }
        let is_full = |ids: &Vec<Uuid>| i64::try_from(ids.len()).is_ok_and(|count| count == AT_ONCE);
        let more = queued.iter().any(|(_, ids)| is_full(ids));
        let leaves = self.leaves(&queued).await?;
        let mut tx = self.db.begin().await?;
        let size = store::hold(&mut tx, fence)
            .await?
            .context("another process has the lease")?;
        let mut new = self.without_known(&mut tx, leaves).await?;
        new.sort_unstable_by(|one, other| (&one.id, &one.kind).cmp(&(&other.id, &other.kind)));
        let mut tiles = store::tiles(&mut tx, &self.db, tiles::growing(size)).await?;
        let (mut end, mut changed) = (size, BTreeSet::new());
        for leaf in &new {
            tiles.append(end, leaf.hash(), &mut changed);
            end += 1;
        }
        if !new.is_empty() {
            let is_new = store::insert(&self.db, &mut tx, size, &new).await?;
            anyhow::ensure!(
                is_new,
                "transparency_leaves has leaves beyond the size {size} of the log; run `meed audit verify`"
            );
            for key in changed {
                let tile = tiles.get(key).unwrap_or_default();
                store::save_tile(&mut tx, key, tile).await?;
            }
            store::set_size(&mut tx, end).await?;
        }
        for (source, ids) in &queued {
            store::dequeue(&self.db, &mut tx, source, ids).await?;
        }
        tx.commit().await?;
        Ok(more)
    }

    /// The leaves of these rows. A row that is gone has none.
    async fn leaves(&self, queued: &[(&'static str, Vec<Uuid>)]) -> anyhow::Result<Vec<Leaf>> {
        let mut leaves = Vec::new();
        for (name, ids) in queued {
            for source in self.sources.iter().filter(|source| source.names().contains(name)) {
                let records = source.read(ids).await?;
                leaves.extend(records.into_iter().map(Leaf::from));
            }
        }
        Ok(leaves)
    }

    /// The first leaf of a kind about a row counts, so that a row that is queued again by hand cannot hide an edit.
    async fn without_known(&self, tx: &mut Tx, leaves: Vec<Leaf>) -> anyhow::Result<Vec<Leaf>> {
        let mut known: HashSet<(String, Uuid)> = HashSet::new();
        for kind in self.sources.iter().flat_map(|source| source.kinds()) {
            let of_kind = leaves.iter().filter(|leaf| leaf.kind == kind.name);
            let ids: Vec<Uuid> = of_kind.map(|leaf| leaf.id).collect();
            let found = store::known(&mut *tx, &self.db, kind.name, &ids).await?;
            known.extend(found.into_iter().map(|id| (kind.name.to_owned(), id)));
        }
        Ok(leaves
            .into_iter()
            .filter(|leaf| known.insert((leaf.kind.clone(), leaf.id)))
            .collect())
    }

    /// Whether the log has grown since the newest checkpoint, and that one is old enough.
    async fn is_checkpoint_due(&self, every: Duration) -> anyhow::Result<bool> {
        let size = store::number(store::size(&self.db).await?);
        let (newest, now) = (store::newest_checkpoint(&self.db).await?, self.clock.now());
        // One from the future was signed before the clock stepped back.
        let is_old = |row: &CheckpointRow| row.created_at.plus(every) <= now || row.created_at > now;
        Ok(size > 0 && newest.is_none_or(|newest| newest.size < size && is_old(&newest)))
    }

    /// Signs a checkpoint if it is due. The outbox tells it.
    async fn checkpoint(&self, fence: i64, every: Duration) -> anyhow::Result<()> {
        if !self.is_checkpoint_due(every).await? {
            return Ok(());
        }
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let size = store::hold(&mut tx, fence)
            .await?
            .context("another process has the lease")?;
        // The fence holds off every other process, so none signed one since.
        let newest = store::newest_checkpoint(&mut tx).await?;
        let tiles = store::tiles(&mut tx, &self.db, tiles::tiles_of([Range::tree(size)])).await?;
        let root = tiles
            .root(size)
            .context("a tile of the log is missing; run `meed audit verify`")?;
        let checkpoint = Checkpoint {
            origin: self.origin.to_string(),
            size,
            root,
            at: Some(now),
        };
        let row = CheckpointRow {
            size: store::number(size),
            created_at: now,
            note: checkpoint.signed(self.keys.signing()),
        };
        let day = |at: Timestamp| at.as_millis().div_euclid(24 * 60 * 60 * 1000);
        let first_of_day = newest.is_none_or(|newest| day(newest.created_at) != day(now));
        store::insert_checkpoint(&mut tx, &row, first_of_day).await?;
        let message = Message {
            id: self.clock.new_id(),
            kind: AUDIT_CHECKPOINT,
            user_id: None,
            subject_id: None,
            payload: json!({"size": size, "rootHash": hex::encode(root), "createdAt": now, "checkpoint": row.note}),
            http_request_id: None,
            created_at: now,
            once_key: None,
        };
        outbox::write(&mut tx, message).await?;
        store::thin_checkpoints(&mut tx, now.minus(CHECKPOINTS_KEPT), DELETED_AT_ONCE).await?;
        tx.commit().await?;
        Ok(())
    }
}

impl Appending {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    async fn count(&mut self) -> anyhow::Result<()> {
        let (db, now) = (&self.sequencer.db, self.sequencer.clock.now());
        if self.counted_at.is_none_or(|at| at.plus(COUNT_EVERY) <= now || at > now) {
            let queued = store::count_queued(db, MOST_COUNTED).await?;
            metrics::gauge!("meed_transparency_queue").set(queued as f64);
            metrics::gauge!("meed_transparency_leaves").set(store::size(db).await? as f64);
            self.counted_at = Some(now);
        }
        Ok(())
    }

    async fn append(&mut self) -> anyhow::Result<Next> {
        self.count().await?;
        let sequencer = &self.sequencer;
        let has_work =
            store::count_queued(&sequencer.db, 1).await? > 0 || sequencer.is_checkpoint_due(CHECKPOINT_EVERY).await?;
        self.lease = self.lease.take().filter(|lease| !lease.is_lost());
        if !has_work {
            self.release().await?;
            return Ok(Next::Period);
        }
        if self.lease.is_none() {
            store::create(&sequencer.db).await?;
            self.lease = Lease::acquire(&sequencer.db, &sequencer.clock, &store::LEASES, store::NAME).await?;
        }
        let Some(fence) = self.lease.as_ref().map(Lease::fence) else {
            return Ok(Next::After(IDLE_INTERVAL));
        };
        let more = sequencer.step(fence).await?;
        sequencer.checkpoint(fence, CHECKPOINT_EVERY).await?;
        Ok(if more { Next::Now } else { Next::Period })
    }

    async fn release(&mut self) -> anyhow::Result<()> {
        if let Some(lease) = self.lease.take() {
            lease.release().await?;
        }
        Ok(())
    }
}

impl Task for Appending {
    async fn run(&mut self, context: &Context) -> anyhow::Result<Next> {
        // A transaction that is dropped is rolled back.
        tokio::select! {
            next = self.append() => next,
            () = context.stopping() => Ok(Next::Period),
        }
    }

    async fn finish(mut self) -> anyhow::Result<()> {
        self.release().await
    }
}
