//! The ledger: everything that claims wrote, read from the tables.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use meed_host::db::{Db, Engine, Json};
use serde_json::Value;
use uuid::Uuid;

/// The server notices a broken connection at its next read; a lock timeout is two seconds.
const QUIET_PATIENCE: Duration = Duration::from_secs(6);

#[derive(Debug)]
pub struct Request {
    pub id: Uuid,
    pub event_id: Uuid,
    pub event_revision: i64,
    pub user_id: Uuid,
    pub status: String,
    pub period: String,
    pub slot: i64,
    /// The period and the amount that it used of the event's budget
    pub budget: Option<(String, i64)>,
}

/// The limits of an event.
#[derive(Debug)]
pub struct Event {
    /// The maximum number of grants of a user in a period
    pub limit: i64,
    pub max_grants: Option<i64>,
    pub max_amount: Option<i64>,
}

impl Event {
    pub fn has_budget(&self) -> bool {
        self.max_grants.is_some() || self.max_amount.is_some()
    }
}

#[derive(Debug)]
pub struct Grant {
    pub id: Uuid,
    pub request_id: Uuid,
    pub reward_id: Uuid,
    pub quantity: i64,
    /// The value of one unit at the time of the grant
    pub value: i64,
    pub stock_since: Option<i64>,
}

#[derive(Debug)]
pub struct Stock {
    pub total: i64,
    pub remaining: i64,
    pub since: i64,
}

#[derive(Debug)]
pub struct OutboxMessage {
    pub kind: String,
    pub user_id: Uuid,
    pub payload: Value,
}

#[derive(Debug)]
pub struct StoredResponse {
    pub user_id: Uuid,
    pub key: String,
    pub request_id: Uuid,
    pub response: String,
}

#[derive(Debug)]
pub struct Ledger {
    pub requests: BTreeMap<Uuid, Request>,
    pub grants: Vec<Grant>,
    pub stock: BTreeMap<Uuid, Stock>,
    pub events: BTreeMap<Uuid, Event>,
    /// The counted grants and their amount, by event and period.
    pub budgets: BTreeMap<(Uuid, String), (i64, i64)>,
    /// The reversed request of each reversal.
    pub reversals: BTreeMap<Uuid, Uuid>,
    pub messages: Vec<OutboxMessage>,
    pub stored_responses: Vec<StoredResponse>,
    by_request: BTreeMap<Uuid, Vec<usize>>,
}

impl Ledger {
    pub async fn read(db: &Db) -> Self {
        type RequestRow = (Uuid, Uuid, i64, Uuid, String, String, i64, Option<String>, Option<i64>);
        type GrantRow = (Uuid, Uuid, Uuid, i64, Json<Value>, Option<i64>);
        const REQUESTS: &str = "SELECT id, event_id, event_revision, user_id, status, period, slot, budget_period, budget_amount \
            FROM reward_requests";
        const GRANTS: &str = "SELECT id, request_id, reward_id, quantity, reward, stock_since FROM grants";
        const STOCK: &str = "SELECT reward_id, total, remaining, since FROM reward_stock";
        const BUDGETS: &str = "SELECT event_id, period, grants, amount FROM event_budgets";
        const OUTBOX: &str = "SELECT kind, user_id, payload FROM outbox WHERE user_id IS NOT NULL";
        const RESPONSES: &str = "SELECT user_id, key, request_id, response FROM idempotency_keys";
        const EVENTS: &str = "SELECT id, recurrence_count, budget_grants, budget_amount FROM events";
        const REVERSALS: &str = "SELECT id, request_id FROM reversals";

        let requests: Vec<RequestRow> = db.query(REQUESTS).fetch_all(db).await.expect("the requests");
        let grants: Vec<GrantRow> = db.query(GRANTS).fetch_all(db).await.expect("the grants");
        let stock: Vec<(Uuid, i64, i64, i64)> = db.query(STOCK).fetch_all(db).await.expect("the stock");
        let budgets: Vec<(Uuid, String, i64, i64)> = db.query(BUDGETS).fetch_all(db).await.expect("the budgets");
        let messages: Vec<(String, Uuid, Json<Value>)> = db.query(OUTBOX).fetch_all(db).await.expect("the outbox");
        let responses: Vec<(Uuid, String, Uuid, String)> =
            db.query(RESPONSES).fetch_all(db).await.expect("the answers");
        let events: Vec<(Uuid, i64, Option<i64>, Option<i64>)> =
            db.query(EVENTS).fetch_all(db).await.expect("the events");
        let reversals: Vec<(Uuid, Uuid)> = db.query(REVERSALS).fetch_all(db).await.expect("the reversals");

        let grants: Vec<_> = grants
            .into_iter()
            .map(
                |(id, request_id, reward_id, quantity, Json(reward), stock_since)| Grant {
                    id,
                    request_id,
                    reward_id,
                    quantity,
                    value: reward["value"].as_i64().unwrap_or_default(),
                    stock_since,
                },
            )
            .collect();
        let mut by_request: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        for (index, grant) in grants.iter().enumerate() {
            by_request.entry(grant.request_id).or_default().push(index);
        }
        let request = |row: RequestRow| {
            let (id, event_id, event_revision, user_id, status, period, slot, budget_period, budget_amount) = row;
            Request {
                id,
                event_id,
                event_revision,
                user_id,
                status,
                period,
                slot,
                budget: budget_period.zip(budget_amount),
            }
        };
        let event = |(id, limit, max_grants, max_amount)| {
            let event = Event {
                limit,
                max_grants,
                max_amount,
            };
            (id, event)
        };
        let budget = |(event, period, grants, amount)| ((event, period), (grants, amount));
        Self {
            requests: requests.into_iter().map(|row| (row.0, request(row))).collect(),
            grants,
            stock: stock
                .into_iter()
                .map(|(id, total, remaining, since)| {
                    (
                        id,
                        Stock {
                            total,
                            remaining,
                            since,
                        },
                    )
                })
                .collect(),
            events: events.into_iter().map(event).collect(),
            budgets: budgets.into_iter().map(budget).collect(),
            reversals: reversals.into_iter().collect(),
            messages: messages
                .into_iter()
                .map(|(kind, user_id, Json(payload))| OutboxMessage { kind, user_id, payload })
                .collect(),
            stored_responses: responses
                .into_iter()
                .map(|(user_id, key, request_id, response)| StoredResponse {
                    user_id,
                    key,
                    request_id,
                    response,
                })
                .collect(),
            by_request,
        }
    }

    pub fn grants_of(&self, request: Uuid) -> impl Iterator<Item = &Grant> {
        let indices = self.by_request.get(&request).into_iter().flatten();
        indices.map(|index| &self.grants[*index])
    }

    /// The maximum number of grants of a user in a period of an event.
    pub fn limit(&self, event: Uuid) -> i64 {
        self.events.get(&event).map_or(0, |event| event.limit)
    }
}

/// I7: no transaction is open and no session waits for a lock; on SQLite the file is also intact.
pub async fn check_nothing_is_open(db: &Db, violations: &mut Vec<String>) {
    const OPEN: &str = "SELECT pid, COALESCE(state, ''), COALESCE(query, '') FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' \
        AND state <> 'idle'";
    match db.engine() {
        Engine::Postgres => {
            let started = Instant::now();
            loop {
                let open: Vec<(i32, String, String)> = db.query(OPEN).fetch_all(db).await.expect("the sessions");
                if open.is_empty() {
                    return;
                }
                if started.elapsed() > QUIET_PATIENCE {
                    violations.push(format!("I7: sessions are not idle: {open:?}"));
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Engine::Sqlite => {
            if let Err(error) = db.begin().await {
                violations.push(format!("I7: the write lock cannot be acquired: {error}"));
            }
            let whole: Vec<(String,)> = db.query("PRAGMA integrity_check").fetch_all(db).await.expect("a check");
            if whole != [("ok".to_owned(),)] {
                violations.push(format!("I7: the database file is corrupt: {whole:?}"));
            }
            let loose: Vec<(String,)> = db
                .query("PRAGMA foreign_key_check")
                .fetch_all(db)
                .await
                .expect("a check");
            if !loose.is_empty() {
                violations.push(format!("I7: foreign keys refer to missing rows: {loose:?}"));
            }
        }
    }
}
