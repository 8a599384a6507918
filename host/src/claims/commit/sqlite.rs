//! A batch on SQLite: one transaction with a savepoint for each record, so that all of them share one wait for the disk.

use crate::backoff;
use crate::claims::logged::REQUEST;
use crate::claims::store::{CommitOutcome, CommitRecord, commit_rows};
use crate::clock::Clock;
use crate::db::{Db, DbError, Tx};
use crate::events::EventService;
use crate::mutations;
use crate::rewards::RewardService;
use crate::transparency;

pub(super) async fn commit(
    db: &Db,
    clock: &Clock,
    events: &EventService,
    rewards: &RewardService,
    records: &[CommitRecord],
) -> Vec<CommitOutcome> {
    let write = || write_all(db, events, rewards, records);
    match backoff::retry(clock, backoff::RETRIES, DbError::is_conflict, write).await {
        Ok(outcomes) => outcomes,
        Err(error) => records.iter().map(|_| CommitOutcome::Failed(error.clone())).collect(),
    }
}

async fn write_all(
    db: &Db,
    events: &EventService,
    rewards: &RewardService,
    records: &[CommitRecord],
) -> Result<Vec<CommitOutcome>, DbError> {
    let mut outcomes = Vec::with_capacity(records.len());
    let mut committed = Vec::with_capacity(records.len());
    let mut tx = db.begin().await?;
    for record in records {
        commit_rows::savepoint(&mut tx).await?;
        let written = write_one(&mut tx, events, rewards, record).await;
        let keeps_rows = match written {
            Ok(is_whole) => is_whole || mutations::active("savepoint-kept"),
            Err(_) => false,
        };
        if !keeps_rows {
            commit_rows::roll_back_to_savepoint(&mut tx).await?;
        }
        commit_rows::release_savepoint(&mut tx).await?;
        outcomes.push(match written {
            Ok(true) => {
                committed.push(record.request.id);
                CommitOutcome::Committed
            }
            Ok(false) => CommitOutcome::Lost,
            Err(error) => CommitOutcome::Failed(error),
        });
    }
    transparency::enqueue_all(db, &mut tx, REQUEST, &committed).await?;
    tx.commit().await?;
    Ok(outcomes)
}

/// `false`: the record is lost, and what it wrote must be rolled back.
async fn write_one(
    tx: &mut Tx,
    events: &EventService,
    rewards: &RewardService,
    record: &CommitRecord,
) -> Result<bool, DbError> {
    let request = &record.request;
    let (event_id, revision) = (request.event_id, request.event_revision);
    let is_confirmed = events.confirm(tx, event_id, revision).await? || mutations::active("revision-not-confirmed");
    if !is_confirmed
        || !commit_rows::insert_request(tx, record).await?
        || !(mutations::active("settled-claim-stays") || commit_rows::take_from_queue(tx, record).await?)
    {
        return Ok(false);
    }
    commit_rows::insert_grants(tx, record).await?;
    commit_rows::insert_messages(tx, record).await?;
    if !commit_rows::insert_response(tx, record).await? {
        return Ok(false);
    }
    if let Some(spending) = &record.spending
        && !events.spend(tx, event_id, &spending.period, spending.amount).await?
    {
        return Ok(false);
    }
    for grant in &record.grants {
        if !rewards.take(tx, grant.taking(request.decided_at)).await? {
            return Ok(false);
        }
    }
    Ok(true)
}
