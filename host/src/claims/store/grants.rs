//! `grants` with their requests and fulfilments.
//!
//! It reads the table `fulfilments` of another feature, so that the database can cut a list of one fulfilment state into
//! pages.

use uuid::Uuid;

use crate::claims::model::{GrantedReward, Status};
use crate::clock::Timestamp;
use crate::db::{Db, Json, Result, row};
use crate::fulfilments::FulfilmentState;

row! {
    #[derive(Clone, Debug)]
    pub(in crate::claims) struct GrantDetailRow {
        pub id: Uuid,
        pub request_id: Uuid,
        pub status: Status,
        pub event_id: Uuid,
        pub user_id: Uuid,
        pub reward_id: Uuid,
        pub quantity: i64,
        pub reward: Json<GrantedReward>,
        pub granted_at: Timestamp,
        pub state: Option<FulfilmentState>,
        pub changed_at: Option<Timestamp>,
        pub acknowledged_by: Option<Uuid>,
        pub endpoint_id: Option<Uuid>,
        pub reason: Option<String>,
        pub reference: Option<String>,
        pub error: Option<String>,
    }
}

macro_rules! select_grants {
    ($tail:literal) => {
        concat!(
            "SELECT g.id, g.request_id, q.status, q.event_id, q.user_id, g.reward_id, g.quantity, g.reward, \
             g.granted_at, f.state, f.changed_at, f.acknowledged_by, f.endpoint_id, f.reason, f.reference, f.error \
             FROM grants g JOIN reward_requests q ON q.user_id = g.user_id AND q.id = g.request_id \
             LEFT JOIN fulfilments f ON f.user_id = g.user_id AND f.grant_id = g.id ",
            $tail
        )
    };
}

pub(in crate::claims) async fn find(db: &Db, id: Uuid) -> Result<Option<GrantDetailRow>> {
    const SQL: &str = select_grants!("WHERE g.id = $1");
    db.query(SQL).bind(id).fetch_optional(db).await
}

/// The conditions of a list; an absent field selects everything.
#[derive(Clone, Debug, Default)]
pub(in crate::claims) struct GrantFilter {
    pub fulfilment: Option<FulfilmentState>,
    pub request_status: Option<Status>,
    pub event_id: Option<Uuid>,
    pub user_id: Option<Uuid>,
    /// Granted at or after this time
    pub from: Option<Timestamp>,
    /// and before this one.
    pub to: Option<Timestamp>,
}

pub(in crate::claims) async fn list(
    db: &Db,
    filter: GrantFilter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<GrantDetailRow>> {
    // With a literal, so that the partial index over failed fulfilments applies; a parameter would hide it.
    let select = db.select(match filter.fulfilment {
        None => select_grants!("WHERE TRUE"),
        Some(FulfilmentState::Pending) => select_grants!("WHERE f.grant_id IS NULL"),
        Some(FulfilmentState::Delivered) => select_grants!("WHERE f.state = 'DELIVERED'"),
        Some(FulfilmentState::Failed) => select_grants!("WHERE f.state = 'FAILED'"),
    });
    select
        .and("q.status = $?", filter.request_status)
        .and("q.event_id = $?", filter.event_id)
        .and("g.user_id = $?", filter.user_id)
        .and("g.granted_at >= $?", filter.from)
        .and("g.granted_at < $?", filter.to)
        .and("g.id < $?", after)
        .end("ORDER BY g.id DESC LIMIT $?", limit)
        .fetch_all(db)
        .await
}
