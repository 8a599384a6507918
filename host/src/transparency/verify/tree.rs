//! Builds the tree again from the leaves, and compares it with the stored tiles and every checkpoint.

use std::collections::BTreeSet;

use super::{PAGE, Report, Verifier};
use crate::db::Result;
use crate::merkle::Hash;
use crate::transparency::checkpoint::Checkpoint;
use crate::transparency::store::{self, LeafRow};
use crate::transparency::tiles::{self, TileKey, Tiles};

/// Missing leaves in a row over which the check goes on.
const MOST_MISSING: u64 = 100_000;

/// Checkpoints in the order of their sizes.
struct Checkpoints {
    page: std::vec::IntoIter<store::CheckpointRow>,
    next: Option<store::CheckpointRow>,
    after: i64,
    /// Further ones than the first that contradicts the tree.
    broken: u64,
}

impl Verifier {
    /// Checks leaves, tiles and checkpoints, and the rows of each page of leaves.
    pub(super) async fn check_tree(&self, older: Option<&Checkpoint>, report: &mut Report) -> Result<()> {
        let size = store::size(&self.db).await?;
        let mut tree = Tiles::default();
        let mut checkpoints = Checkpoints {
            page: Vec::new().into_iter(),
            next: None,
            after: 0,
            broken: 0,
        };
        let mut position = 0;
        loop {
            let mut page = store::leaves(&self.db, position, PAGE).await?;
            page.retain(|row| row.position.unsigned_abs() < size);
            let Some(last) = page.last().map(|row| row.position.unsigned_abs()) else {
                break;
            };
            let mut changed = BTreeSet::new();
            for row in &page {
                let at = row.position.unsigned_abs();
                if at > position {
                    report.find(gap(position, at));
                }
                if at - position > MOST_MISSING {
                    report.find("too many leaves are missing; the leaves after them were not checked");
                    return Ok(());
                }
                // The tile still knows the hash of a leaf that is gone, so that the rest of the tree can be checked.
                while position <= at {
                    let hash = if position == at {
                        row.leaf().map(|leaf| leaf.hash())
                    } else {
                        None
                    };
                    if position == at && hash.is_none() {
                        report.find(format!("leaf {at}: {} {} has no digest", row.kind, row.id));
                    }
                    let hash = match hash {
                        Some(hash) => hash,
                        None => self.stored_hash(position).await?,
                    };
                    tree.append(position, hash, &mut changed);
                    position += 1;
                    self.check_checkpoint(&mut checkpoints, older, (position, &tree), report)
                        .await?;
                }
            }
            self.compare(&tree, &changed, &page, report).await?;
            tree.keep_growing(position);
            self.check_rows(&page, report).await?;
            position = last + 1;
        }
        report.leaves = position;
        self.check_end(size, (position, &tree), report).await?;
        self.check_late_checkpoints(checkpoints, older, position, report).await
    }

    /// The leaf's hash as its tile has it.
    async fn stored_hash(&self, position: u64) -> Result<Hash> {
        let range = crate::merkle::Range {
            from: position,
            to: position + 1,
        };
        let tiles = store::tiles(&self.db, &self.db, tiles::tiles_of([range])).await?;
        Ok(tiles.range(range).unwrap_or_default())
    }

    /// Compares tiles that changed while a page of leaves was appended with the stored ones.
    async fn compare(
        &self,
        tree: &Tiles,
        changed: &BTreeSet<TileKey>,
        page: &[LeafRow],
        report: &mut Report,
    ) -> Result<()> {
        let stored = store::tiles(&self.db, &self.db, changed.iter().copied()).await?;
        for key in changed {
            let (is, expected) = (stored.get(*key).unwrap_or_default(), tree.get(*key).unwrap_or_default());
            if is.starts_with(&expected) {
                continue;
            }
            let (level, number) = *key;
            let first = number * 256;
            let differing = page.iter().filter(|row| {
                let at = usize::try_from(row.position.unsigned_abs().wrapping_sub(first)).unwrap_or(usize::MAX);
                let of = |bytes: &[u8]| bytes.get(at.saturating_mul(32)..)?.get(..32).map(<[u8]>::to_vec);
                level == 0 && of(&expected).is_some() && of(&is) != of(&expected)
            });
            let mut is_explained = false;
            for row in differing {
                is_explained = true;
                report.find(format!(
                    "leaf {}: {} {} is not the leaf whose hash is in the tree; leaf or tile was changed",
                    row.position, row.kind, row.id
                ));
            }
            if !is_explained {
                report.find(format!("tile {number} of level {level} was changed or is missing"));
            }
        }
        Ok(())
    }

    /// Checks the checkpoints of exactly this size.
    async fn check_checkpoint(
        &self,
        checkpoints: &mut Checkpoints,
        older: Option<&Checkpoint>,
        (size, tree): (u64, &Tiles),
        report: &mut Report,
    ) -> Result<()> {
        if let Some(older) = older.filter(|older| older.size == size)
            && tree.root(size) != Some(older.root)
        {
            report.find(format!(
                "the given checkpoint of size {size}: its root is not that of the log; the history was rewritten"
            ));
        }
        while self
            .peek(checkpoints)
            .await?
            .is_some_and(|row| row.size.unsigned_abs() <= size)
        {
            let Some(row) = checkpoints.next.take() else {
                return Ok(());
            };
            if let Some(checkpoint) = self.signed(&row, report) {
                if tree.root(size) == Some(checkpoint.root) {
                    report.checkpoints += 1;
                    report.covered = size;
                } else {
                    checkpoints.broken += 1;
                    if checkpoints.broken == 1 {
                        report.find(format!(
                            "the checkpoint of size {size} has another root than the leaves; something before it was changed"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    async fn peek<'a>(&self, checkpoints: &'a mut Checkpoints) -> Result<Option<&'a store::CheckpointRow>> {
        if checkpoints.next.is_none() {
            checkpoints.next = checkpoints.page.next();
        }
        if checkpoints.next.is_none() {
            let rows = store::checkpoints_after(&self.db, checkpoints.after, PAGE).await?;
            checkpoints.page = rows.into_iter();
            checkpoints.next = checkpoints.page.next();
        }
        if let Some(next) = &checkpoints.next {
            checkpoints.after = next.size;
        }
        Ok(checkpoints.next.as_ref())
    }

    /// The checkpoint of a row, if one of the keys signed it.
    fn signed(&self, row: &store::CheckpointRow, report: &mut Report) -> Option<Checkpoint> {
        match Checkpoint::verified(&row.note, &self.keys) {
            Ok(checkpoint) if checkpoint.size == row.size.unsigned_abs() => Some(checkpoint),
            Ok(checkpoint) => {
                report.find(format!(
                    "the checkpoint of size {} contains one of size {}",
                    row.size, checkpoint.size
                ));
                None
            }
            Err(error) => {
                report.find(format!("the checkpoint of size {}: {error}", row.size));
                None
            }
        }
    }

    /// Checks that the tables end where the log says that it ends.
    async fn check_end(&self, size: u64, (position, tree): (u64, &Tiles), report: &mut Report) -> Result<()> {
        if position < size {
            report.find(gap(position, size));
        }
        let beyond = store::leaves(&self.db, size, 1).await?;
        let tiles = store::last_tile(&self.db, 0).await?;
        let growing = store::tiles(&self.db, &self.db, tiles::growing(position)).await?;
        let now = store::size(&self.db).await?;
        // A prefix is compared already.
        let is_longer = |key: &TileKey| {
            growing.get(*key).map_or(0, |tile| tile.len()) > tree.get(*key).map_or(0, |tile| tile.len())
        };
        if now == position && tiles::growing(position).iter().any(is_longer) {
            report.find(format!(
                "the log has {now} leaves, but its tiles have more: the tail was cut off"
            ));
        }
        if let Some(row) = beyond.first().filter(|row| row.position.unsigned_abs() >= now) {
            report.find(format!(
                "the log says that it has {now} leaves, but there is one at {}: its size was changed",
                row.position
            ));
        }
        if let Some(tile) = tiles.filter(|tile| tile * 256 >= now) {
            report.find(format!(
                "the log has {now} leaves, but tile {tile} has later ones: the tail was cut off"
            ));
        }
        Ok(())
    }

    /// Checkpoints of sizes that the log does not have.
    async fn check_late_checkpoints(
        &self,
        mut checkpoints: Checkpoints,
        older: Option<&Checkpoint>,
        size: u64,
        report: &mut Report,
    ) -> Result<()> {
        let now = store::size(&self.db).await?.max(size);
        let cut =
            |what: &str, at: u64| format!("{what} of size {at}: the log has only {size} leaves; its tail was cut off");
        if let Some(older) = older.filter(|older| older.size > size) {
            report.find(cut("the given checkpoint", older.size));
        }
        while self.peek(&mut checkpoints).await?.is_some() {
            let Some(row) = checkpoints.next.take() else { break };
            // A server may have signed it since.
            if row.size.unsigned_abs() > now && row.size.unsigned_abs() > store::size(&self.db).await? {
                report.find(cut("the checkpoint", row.size.unsigned_abs()));
            }
        }
        if checkpoints.broken > 1 {
            report.find(format!(
                "{} later checkpoints have other roots too",
                checkpoints.broken - 1
            ));
        }
        Ok(())
    }
}

fn gap(from: u64, to: u64) -> String {
    format!("leaves {from} to {} are missing", to - 1)
}
