//! The decided claims of an event in the order of their arrival, for make-goods.

use uuid::Uuid;

use crate::claims::model::{Reason, Status};
use crate::clock::Timestamp;
use crate::db::{Db, Json, Result, row};

row! {
    #[derive(Clone, Debug)]
    pub(in crate::claims) struct OldClaimRow {
        pub id: Uuid,
        pub user_id: Uuid,
        pub period: String,
        pub slot: i64,
        pub reasons: Json<Vec<Reason>>,
        pub received_at: Timestamp,
    }
}

/// Claims with this status after one id and before another.
pub(in crate::claims) async fn page(
    db: &Db,
    event_id: Uuid,
    status: Status,
    (after, before): (Uuid, Uuid),
    limit: i64,
) -> Result<Vec<OldClaimRow>> {
    const SQL: &str = "SELECT id, user_id, period, slot, reasons, received_at FROM reward_requests \
        WHERE event_id = $1 AND status = $2 AND id > $3 AND id < $4 ORDER BY id LIMIT $5";
    let query = db.query(SQL).bind(event_id).bind(status).bind(after).bind(before);
    query.bind(limit).fetch_all(db).await
}
