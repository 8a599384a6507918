//! What an approval is for: the hash of everything that a make-good would do. Computed here only, and always from what is
//! stored. Must not know: states and people.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::json;
use uuid::Uuid;

use super::error::MakeGoodError;
use super::state::{EntryState, Kind};
use super::store::MakeGoodRow;
use super::store::entries::{self, EntryRow};
use crate::canonical;
use crate::db::Tx;

/// Entries that are read at once.
const PAGE: i64 = 500;

/// What the entries amount to.
#[derive(Debug)]
pub(super) struct Summary {
    pub hash: String,
    pub grants: u64,
    pub reversals: u64,
    pub units: BTreeMap<String, i64>,
}

impl Summary {
    /// Sets what depends on the entries.
    pub(super) fn write_to(self, row: &mut MakeGoodRow) {
        row.hash = Some(self.hash);
        let counts = &mut row.counts.0;
        (counts.grants, counts.reversals, counts.units) = (self.grants, self.reversals, self.units);
    }
}

/// Reads all entries. Part of the caller's transaction, which holds the lock of the row.
pub(super) async fn summary(tx: &mut Tx, row: &MakeGoodRow) -> Result<Summary, MakeGoodError> {
    let mut hashing = Hashing::new(row)?;
    let mut after = Uuid::nil();
    loop {
        let page = entries::page(&mut *tx, row.id, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for entry in &page {
            hashing.add(entry)?;
        }
    }
    Ok(hashing.finish())
}

struct Hashing {
    context: Context,
    grants: u64,
    reversals: u64,
    units: BTreeMap<String, i64>,
}

impl Hashing {
    fn new(row: &MakeGoodRow) -> Result<Self, MakeGoodError> {
        let mut hashing = Self {
            context: Context::new(&SHA256),
            grants: 0,
            reversals: 0,
            units: BTreeMap::new(),
        };
        hashing.line(&json!({
            "format": "meed-make-good/1",
            "makeGoodId": row.id,
            "eventId": row.event_id,
            "title": row.title,
            "from": row.from_at,
            "to": row.to_at,
            "knownBy": row.known_by,
            "condition": row.condition.0,
        }))?;
        Ok(hashing)
    }

    fn line(&mut self, value: &serde_json::Value) -> Result<(), MakeGoodError> {
        self.context.update(canonical::to_string(value)?.as_bytes());
        self.context.update(b"\n");
        Ok(())
    }

    /// What a person took out is not approved, and not in the hash.
    fn add(&mut self, entry: &EntryRow) -> Result<(), MakeGoodError> {
        if entry.state == EntryState::Excluded {
            return Ok(());
        }
        match entry.kind {
            Kind::Grant => self.grants += 1,
            Kind::Reverse => self.reversals += 1,
        }
        for award in &entry.awards.0 {
            *self.units.entry(award.reward_id.clone()).or_default() += i64::from(award.quantity);
        }
        self.line(&json!({
            "id": entry.id,
            "kind": entry.kind,
            "userId": entry.user_id,
            "requestId": entry.request_id,
            "awards": entry.awards.0,
        }))
    }

    fn finish(self) -> Summary {
        Summary {
            hash: format!("sha256:{}", hex::encode(self.context.finish())),
            grants: self.grants,
            reversals: self.reversals,
            units: self.units,
        }
    }
}
