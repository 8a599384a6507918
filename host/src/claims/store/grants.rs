//! `grants` with their requests and fulfilments.
//!
//! It reads the table `fulfilments` of another feature, so that a page is one statement.

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

/// The columns; the grants follow.
macro_rules! select_grants {
    () => {
        "SELECT g.id, g.request_id, q.status, g.event_id, g.user_id, g.reward_id, g.quantity, g.reward, g.granted_at, \
         f.state, f.changed_at, f.acknowledged_by, f.endpoint_id, f.reason, f.reference, f.error FROM "
    };
}

/// The tables that are joined to the grants.
macro_rules! grant_details {
    () => {
        " AS g JOIN reward_requests q ON q.user_id = g.user_id AND q.id = g.request_id \
         LEFT JOIN fulfilments f ON f.user_id = g.user_id AND f.grant_id = g.id "
    };
}

pub(in crate::claims) async fn find(db: &Db, id: Uuid) -> Result<Option<GrantDetailRow>> {
    const SQL: &str = concat!(select_grants!(), "grants", grant_details!(), "WHERE g.id = $1");
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

/// Newest first. Each set of filters reads a range of one index, or one range per state.
pub(in crate::claims) async fn list(
    db: &Db,
    filter: GrantFilter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<GrantDetailRow>> {
    const SQL: &str = "SELECT user_id, id, request_id, reward_id, event_id, quantity, reward, granted_at FROM grants \
        WHERE TRUE";
    // The page is cut before its grants are joined.
    const AROUND: (&str, &str) = (
        concat!(select_grants!(), "("),
        concat!(")", grant_details!(), "ORDER BY g.id DESC LIMIT $?"),
    );
    // An id begins with the time of the grant.
    let select = db
        .select(SQL)
        .and("id >= $?", filter.from.map(Timestamp::first_id))
        .and("id < $?", filter.to.map(Timestamp::first_id))
        .and("id < $?", after)
        .and("user_id = $?", filter.user_id);
    let reversed = match filter.request_status {
        None => None,
        Some(Status::Granted) => Some(false),
        Some(Status::Reversed) => Some(true),
        // Such a request has no grants.
        Some(_) => return Ok(Vec::new()),
    };
    let is_of_all = filter.event_id.is_none() && filter.fulfilment.is_none() && reversed.is_none();
    let query = if filter.user_id.is_some() || is_of_all {
        // COALESCE hides the conditions from the choice of an index, as in `store::list`.
        let select = select
            .and("COALESCE(event_id = $?, FALSE)", filter.event_id)
            .and("COALESCE(fulfilment = $?, FALSE)", filter.fulfilment)
            .and("COALESCE(reversed = $?, FALSE)", reversed);
        select.newest_of(&["TRUE"], AROUND, limit)
    } else {
        let states: Vec<&str> = STATES
            .iter()
            .filter(|(of, ..)| filter.fulfilment.is_none_or(|fulfilment| fulfilment == *of))
            .filter(|(_, of, _)| reversed.is_none_or(|reversed| reversed == *of))
            .map(|(.., condition)| *condition)
            .collect();
        let select = select.and("event_id = $?", filter.event_id);
        select.newest_of(&states, AROUND, limit)
    };
    query.fetch_all(db).await
}

/// Literals, so that a range of each can be read.
const STATES: [(FulfilmentState, bool, &str); 6] = [
    (
        FulfilmentState::Pending,
        false,
        "fulfilment = 'PENDING' AND reversed = FALSE",
    ),
    (
        FulfilmentState::Pending,
        true,
        "fulfilment = 'PENDING' AND reversed = TRUE",
    ),
    (
        FulfilmentState::Delivered,
        false,
        "fulfilment = 'DELIVERED' AND reversed = FALSE",
    ),
    (
        FulfilmentState::Delivered,
        true,
        "fulfilment = 'DELIVERED' AND reversed = TRUE",
    ),
    (
        FulfilmentState::Failed,
        false,
        "fulfilment = 'FAILED' AND reversed = FALSE",
    ),
    (
        FulfilmentState::Failed,
        true,
        "fulfilment = 'FAILED' AND reversed = TRUE",
    ),
];
