//! What users did, for a backtest: it reads the log of the features that own it and writes nothing.
//!
//! Reads tables of `users`, `activities` and `claims`, for some users at a time, and stops at a number of rows.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::{Db, Json, Result, row};

row! {
    #[derive(Clone, Debug)]
    pub(in crate::backtests) struct UserRow {
        pub id: Uuid,
        pub role: String,
        pub created_at: Timestamp,
        pub invited_by: Option<Uuid>,
        /// Whether the personal data was erased, or is being erased.
        pub erased: bool,
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(in crate::backtests) struct ActivityRow {
        pub user_id: Uuid,
        pub kind: String,
        pub occurred_at: Timestamp,
        pub recorded_at: Timestamp,
        pub amount: Option<i64>,
        pub attributes: Json<BTreeMap<String, String>>,
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(in crate::backtests) struct AttributeRow {
        pub user_id: Uuid,
        pub name: String,
        pub set_at: Timestamp,
        pub value: Option<String>,
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(in crate::backtests) struct ClaimRow {
        pub user_id: Uuid,
        pub id: Uuid,
        pub status: String,
        pub plugin_digest: crate::sandbox::Digest,
        pub period: String,
        pub slot: i64,
        pub budget_amount: Option<i64>,
        pub received_at: Timestamp,
        pub reversed_at: Option<Timestamp>,
        pub review: Option<Json<crate::claims::Review>>,
    }
}

/// The ids of users after one id and before another, in their order.
pub(in crate::backtests) async fn users_between(db: &Db, after: Uuid, before: Uuid, limit: i64) -> Result<Vec<Uuid>> {
    const SQL: &str = "SELECT id FROM users WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3";
    let query = db.query(SQL).bind(after).bind(before).bind(limit);
    let rows: Vec<(Uuid,)> = query.fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Users after one id and up to another, in the order of their ids.
pub(in crate::backtests) async fn users(db: &Db, after: Uuid, through: Uuid, limit: i64) -> Result<Vec<UserRow>> {
    const SQL: &str = "SELECT u.id, u.role, u.created_at, u.invited_by, \
        EXISTS (SELECT 1 FROM user_erasures e WHERE e.user_id = u.id AND e.begun_at IS NOT NULL) AS erased \
        FROM users u WHERE u.id > $1 AND u.id <= $2 ORDER BY u.id LIMIT $3";
    let query = db.query(SQL).bind(after).bind(through).bind(limit);
    query.fetch_all(db).await
}

/// The users that these users invited: inviter, user, registration.
pub(in crate::backtests) async fn invitees(
    db: &Db,
    inviters: &[Uuid],
    limit: i64,
) -> Result<Vec<(Uuid, Uuid, Timestamp)>> {
    db.select("SELECT invited_by, id, created_at FROM users WHERE TRUE")
        .and_in("invited_by IN ($?)", inviters.iter().copied())
        .end("LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// What these users did until `to`, of these kinds.
pub(in crate::backtests) async fn activities(
    db: &Db,
    users: &[Uuid],
    kinds: &[String],
    to: Timestamp,
    limit: i64,
) -> Result<Vec<ActivityRow>> {
    db.select("SELECT user_id, kind, occurred_at, recorded_at, amount, attributes FROM activities WHERE TRUE")
        .and_in("user_id IN ($?)", users.iter().copied())
        .and_in("kind IN ($?)", kinds.iter().cloned())
        .and("occurred_at < $?", Some(to))
        .and("recorded_at < $?", Some(to))
        .end("LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// In the order in which the values follow each other.
pub(in crate::backtests) async fn attributes(
    db: &Db,
    users: &[Uuid],
    names: &[String],
    to: Timestamp,
    limit: i64,
) -> Result<Vec<AttributeRow>> {
    db.select("SELECT user_id, name, set_at, value FROM user_attributes WHERE TRUE")
        .and_in("user_id IN ($?)", users.iter().copied())
        .and_in("name IN ($?)", names.iter().cloned())
        .and("set_at < $?", Some(to))
        .end("ORDER BY user_id, name, set_at, id LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// The decided claims of these users on an event, in any order.
pub(in crate::backtests) async fn claims(
    db: &Db,
    users: &[Uuid],
    event_id: Uuid,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<ClaimRow>> {
    db.select(
        "SELECT q.user_id, q.id, q.status, q.plugin_digest, q.period, q.slot, q.budget_amount, q.received_at, \
         r.reversed_at, q.review FROM reward_requests q \
         LEFT JOIN reversals r ON r.user_id = q.user_id AND r.request_id = q.id WHERE TRUE",
    )
    .and_in("q.user_id IN ($?)", users.iter().copied())
    .and("q.event_id = $?", Some(event_id))
    .and("q.id < $?", Some(until.first_id()))
    .end("LIMIT $?", limit)
    .fetch_all(db)
    .await
}

/// The rewards of granted claims: request, reward, quantity.
pub(in crate::backtests) async fn grants(
    db: &Db,
    users: &[Uuid],
    event_id: Uuid,
    limit: i64,
) -> Result<Vec<(Uuid, Uuid, i64)>> {
    db.select("SELECT request_id, reward_id, quantity FROM grants WHERE TRUE")
        .and_in("user_id IN ($?)", users.iter().copied())
        .and("event_id = $?", Some(event_id))
        .end("LIMIT $?", limit)
        .fetch_all(db)
        .await
}

/// The grants of other events of the group: user, arrival, reversal.
pub(in crate::backtests) async fn group_grants(
    db: &Db,
    users: &[Uuid],
    group: &str,
    event_id: Uuid,
    limit: i64,
) -> Result<Vec<(Uuid, Timestamp, Option<Timestamp>)>> {
    db.select(
        "SELECT q.user_id, q.received_at, r.reversed_at FROM reward_requests q \
         LEFT JOIN reversals r ON r.user_id = q.user_id AND r.request_id = q.id \
         WHERE (q.status = 'GRANTED' OR q.status = 'REVERSED')",
    )
    .and_in("q.user_id IN ($?)", users.iter().copied())
    .and("q.group_name = $?", Some(group.to_owned()))
    .and("q.event_id <> $?", Some(event_id))
    .end("LIMIT $?", limit)
    .fetch_all(db)
    .await
}
