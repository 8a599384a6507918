//! Compares what is maintained with the log, and builds it again.

use std::collections::BTreeMap;
use std::fmt;

use uuid::Uuid;

use super::Zone;
use super::builder::{FactBuilder, is_in};
use super::store::compactions;
use super::store::heads::{self, HeadRow};
use super::store::marks::{self, EntryRow, MarkRow};
use super::upkeep;
use super::words::{self, place};
use crate::clock::Timestamp;
use crate::db::{Result, Tx};

/// Activities that one statement reads.
const AT_ONCE: i64 = 8 * 1024;
/// Heads that one statement reads.
const HEADS_AT_ONCE: i64 = 256;

/// What to compare or to build again. `None`: all users, all series.
#[derive(Clone, Copy, Debug, Default)]
pub struct Which {
    pub user: Option<Uuid>,
    pub series: Option<i64>,
}

/// A head whose content is not that of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub user_id: Uuid,
    pub kind: String,
    pub series: i64,
    pub message: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user_id,
            kind,
            series,
            message,
        } = self;
        write!(f, "user {user_id}, kind {kind}, series {series}: {message}")
    }
}

/// The result of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    pub heads: u64,
    pub differences: Vec<Difference>,
}

impl FactBuilder {
    /// Compares what is maintained with the log.
    pub async fn verify(&self, which: Which) -> Result<Checked> {
        let mut checked = Checked::default();
        let mut after = None;
        while let Some(heads) = self.heads_after(which, &mut after).await? {
            for head in &heads {
                checked.heads += 1;
                checked.differences.extend(self.compare(head).await?);
            }
        }
        Ok(checked)
    }

    /// Lets what is maintained be built again, and returns the number of heads. Until then, the log answers.
    pub async fn rebuild(&self, which: Which) -> Result<u64> {
        let (mut rebuilt, mut after) = (0, None);
        while let Some(heads) = self.heads_after(which, &mut after).await? {
            for head in &heads {
                rebuilt += u64::from(self.restart(head).await?);
            }
        }
        Ok(rebuilt)
    }

    /// Compares one head, chosen by chance; one that differs is built again.
    pub async fn verify_sample(&self) -> Result<()> {
        let from = Uuid::from_bytes(self.clock().random::<16>());
        let heads = match heads::from_user(self.db(), from, 1).await? {
            found if found.is_empty() => heads::from_user(self.db(), Uuid::nil(), 1).await?,
            found => found,
        };
        for head in &heads {
            metrics::counter!("meed_fact_heads_verified_total").increment(1);
            if let Some(difference) = self.compare(head).await? {
                metrics::counter!("meed_fact_differences_total").increment(1);
                tracing::error!(%difference, "maintained facts differ from the log; they are built again");
                self.restart(head).await?;
            }
        }
        Ok(())
    }

    /// The next heads. `after` is where they begin; `None` at first.
    async fn heads_after(&self, which: Which, after: &mut Option<HeadRow>) -> Result<Option<Vec<HeadRow>>> {
        let found = match (which.user, which.series) {
            (Some(_), _) if after.is_some() => Vec::new(),
            (Some(user), _) => heads::of_user(self.db(), user).await?,
            (None, Some(series)) => {
                let user = after.as_ref().map_or(Uuid::nil(), |head| head.user_id);
                heads::of_series(self.db(), series, user, HEADS_AT_ONCE).await?
            }
            (None, None) => heads::after(self.db(), after.as_ref(), HEADS_AT_ONCE).await?,
        };
        *after = found.last().cloned();
        let asked = |head: &HeadRow| which.series.is_none_or(|series| series == head.series);
        Ok(after.is_some().then(|| found.into_iter().filter(asked).collect()))
    }

    async fn compare(&self, head: &HeadRow) -> Result<Option<Difference>> {
        let mut tx = self.db().begin().await?;
        let Some(head) = heads::hold(&mut tx, head).await? else {
            return Ok(None);
        };
        let message = match head.zone.as_deref().map(str::parse::<Zone>) {
            None => compare_marks(&mut tx, &head).await?,
            Some(Ok(zone)) => compare_days(&mut tx, &head, &zone).await?,
            Some(Err(_)) => None,
        };
        Ok(message.map(|message| Difference {
            user_id: head.user_id,
            kind: head.kind,
            series: head.series,
            message,
        }))
    }

    async fn restart(&self, head: &HeadRow) -> Result<bool> {
        let mut tx = self.db().begin().await?;
        let Some(held) = heads::hold(&mut tx, head).await? else {
            return Ok(false);
        };
        upkeep::restart(&mut tx, held).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// The mark at the horizon of compacted activities, from which on the log is compared; without one, the first of all.
async fn base(tx: &mut Tx, head: &HeadRow) -> Result<MarkRow> {
    let compaction = compactions::find(tx, head.user_id, &head.kind).await?;
    let Some(compaction) = compaction.filter(|_| !head.is_of_invitees) else {
        return Ok(marks::ORIGIN);
    };
    let mark = marks::at(tx, head, marks::end_before(compaction.until)).await?;
    Ok(mark.unwrap_or(marks::ORIGIN))
}

/// Calls `each` with the activities of a head after a mark in their order, until it returns `false`.
async fn walk(tx: &mut Tx, head: &HeadRow, from: MarkRow, mut each: impl FnMut(&EntryRow) -> bool) -> Result<()> {
    let mut after = (from.at, from.id);
    loop {
        let entries = marks::entries(tx, head, after, AT_ONCE).await?;
        for entry in &entries {
            if !each(entry) {
                return Ok(());
            }
        }
        let Some(last) = entries.last() else {
            return Ok(());
        };
        after = (last.occurred_at, last.id);
    }
}

async fn compare_marks(tx: &mut Tx, head: &HeadRow) -> Result<Option<String>> {
    let marks = marks::all(tx, head).await?;
    let last = marks.last().unwrap_or(&marks::ORIGIN);
    if (last.at, last.id) != (head.through_at, head.through_id) {
        return Ok(Some(format!(
            "the head ends at {}, but the last mark is at {}",
            head.through_at, last.at
        )));
    }
    let base = base(tx, head).await?;
    let (mut n, mut sum, mut last_at, mut found) = (base.n, base.sum, base.last_at, None);
    let after_base = |mark: &&MarkRow| (mark.at, mark.id) > (base.at, base.id);
    let mut rest = marks.iter().filter(after_base).peekable();
    let wrong = |mark: &MarkRow, n: i64, sum: i64, last_at: i64| {
        format!(
            "the mark at {} has {} activities with the sum {}, the last at {}, but the log has {n} with {sum}, the last at \
             {last_at}",
            mark.at, mark.n, mark.sum, mark.last_at
        )
    };
    walk(tx, head, base, |entry| {
        let Some(mark) = rest.peek() else {
            return false;
        };
        if (entry.occurred_at, entry.id) > (mark.at, mark.id) {
            found = Some(format!(
                "the log has no activity {} at the mark at {}",
                mark.id, mark.at
            ));
            return false;
        }
        if is_in(head, entry) {
            n += 1;
            sum += entry.amount.unwrap_or(0);
            last_at = entry.occurred_at;
        }
        if (entry.occurred_at, entry.id) == (mark.at, mark.id) {
            if (mark.n, mark.sum, mark.last_at) != (n, sum, last_at) {
                found = Some(wrong(mark, n, sum, last_at));
                return false;
            }
            rest.next();
        }
        true
    })
    .await?;
    let missing = rest
        .peek()
        .map(|mark| format!("the log ends before the mark at {}", mark.at));
    Ok(found.or(missing))
}

async fn compare_days(tx: &mut Tx, head: &HeadRow, zone: &Zone) -> Result<Option<String>> {
    let mut stored = marks::days(tx, head).await?;
    let mut built: BTreeMap<i64, i64> = BTreeMap::new();
    let base = base(tx, head).await?;
    if base != marks::ORIGIN
        && let Some(horizon) = Timestamp::from_millis(base.at + 1)
    {
        // The log does not have these days any more.
        let (word, bits) = words::until(zone, horizon);
        stored.retain(|stored, _| *stored >= word);
        if let Some(stored) = stored.get_mut(&word) {
            *stored &= !bits;
        }
    }
    walk(tx, head, base, |entry| {
        if (entry.occurred_at, entry.id) > (head.through_at, head.through_id) {
            return false;
        }
        if is_in(head, entry)
            && let Some(at) = Timestamp::from_millis(entry.occurred_at)
        {
            let (word, bit) = place(zone.date(at));
            *built.entry(word).or_default() |= bit;
        }
        true
    })
    .await?;
    if base != marks::ORIGIN
        && let Some(horizon) = Timestamp::from_millis(base.at + 1)
    {
        let (word, bits) = words::until(zone, horizon);
        if let Some(built) = built.get_mut(&word) {
            *built &= !bits;
        }
        built.retain(|built, bits| *built >= word && *bits != 0);
        stored.retain(|_, bits| *bits != 0);
    }
    let all = stored.keys().chain(built.keys());
    let differs = |word: &&i64| stored.get(word) != built.get(word);
    Ok(all.copied().collect::<Vec<_>>().iter().find(differs).map(|word| {
        let bits = |words: &BTreeMap<i64, i64>| words.get(word).copied().unwrap_or(0);
        format!(
            "of the days from {}, {:#x} are set, but the log has {:#x}",
            words::first_of(*word),
            bits(&stored),
            bits(&built)
        )
    }))
}
