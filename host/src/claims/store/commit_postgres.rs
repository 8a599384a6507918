//! What a set of claims writes, in one statement on PostgreSQL.
//!
//! This is the one place that writes `reward_stock` and `event_budgets` and locks `events` for their features, so that a commit pays for one
//! round trip however many claims it holds. On SQLite the same is done claim by claim (`super`).

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::claims::commit::CommitRecord;
use crate::clock::Timestamp;
use crate::db::{Db, Json, Result};

/// What a set statement did.
#[derive(Debug, Default)]
pub(in crate::claims) struct Written {
    /// The requests that are there now. The others of the set left nothing behind.
    pub requests: HashSet<Uuid>,
    /// The revisions of the events, which the statement held still until it was committed.
    pub revisions: HashMap<Uuid, i64>,
}

/// Each claim is written whole or not at all, and a claim that is not written does not stop the others: its event is at
/// another revision, its place in the period is taken, or its Idempotency-Key has an answer. Where only the whole
/// statement can be refused it is, by a constraint: `reward_stock` or `event_budgets` holds too little for the set, or a
/// key got its answer between this statement's beginning and its end.
///
/// Everybody locks in this order: events, requests, keys, budgets, stock, each by its key; so no two sets wait for each
/// other. Reading the counts of `told` and `kept`, and of `counted` after them, makes budgets and stock the last things that
/// are locked, because every other set that takes from them waits from then on until the commit.
///
/// What no claim of the set needs is left out, as every part costs something even when it has nothing to do. `$?` is the
/// next placeholder.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each part is there or not, whatever the others are"
)]
struct Parts {
    /// Some claim has an Idempotency-Key.
    keys: bool,
    /// Something is granted.
    grants: bool,
    /// Some grant is taken from a budget.
    budgets: bool,
    /// The claims waited. All of a set did, or none.
    waited: bool,
}

impl Parts {
    fn of(set: &[&CommitRecord]) -> Self {
        Self {
            keys: set.iter().any(|record| record.answer.is_some()),
            grants: set.iter().any(|record| record.told.is_some()),
            budgets: set.iter().any(|record| record.spending.is_some()),
            waited: set.iter().any(|record| record.fence.is_some()),
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "it is one statement, told in the order in which it runs"
    )]
    fn statement(&self) -> String {
        const ASKED: &str = "\
            WITH asked AS MATERIALIZED (SELECT * FROM UNNEST( \
                    $?::UUID[], $?::UUID[], $?::BIGINT[], $?::UUID[], $?::TEXT[], $?::TEXT[], $?::TEXT[], $?::BIGINT[], \
                    $?::JSONB[], $?::JSONB[], $?::BIGINT[], $?::BIGINT[], $?::BIGINT[], $?::BIGINT[], $?::TEXT[], \
                    $?::TEXT[], $?::BYTEA[], $?::TEXT[], $?::BIGINT[]) \
                AS a (id, event_id, event_revision, user_id, plugin_digest, status, period, sequence, reasons, progress, \
                    retry_at, received_at, decided_at, fuel, receipt, receipt_key_id, receipt_signature, budget_period, \
                    budget_amount)), \
            current AS MATERIALIZED ( \
                SELECT id, revision, budget_grants, budget_amount FROM events \
                WHERE id = ANY ($?::UUID[]) AND deleted_at IS NULL ORDER BY id FOR SHARE)";
        const WAITED: &str = ", \
            waited AS MATERIALIZED ( \
                SELECT r.id FROM UNNEST($?::UUID[], $?::UUID[], $?::BIGINT[]) AS w (request_id, event_id, fence) \
                JOIN claim_lines l ON l.event_id = w.event_id AND l.fence = w.fence \
                JOIN received_claims r ON r.id = w.request_id FOR SHARE OF l)";
        const KEYED: &str = ", \
            keyed AS MATERIALIZED (SELECT * FROM UNNEST( \
                    $?::UUID[], $?::UUID[], $?::TEXT[], $?::BYTEA[], $?::TEXT[], $?::BIGINT[], $?::BIGINT[]) \
                AS k (request_id, user_id, key, fingerprint, response, created_at, expires_at))";
        const WRITTEN: &str = ", \
            written AS ( \
                INSERT INTO reward_requests (id, event_id, event_revision, user_id, plugin_digest, status, period, \
                    sequence, reasons, progress, retry_at, received_at, decided_at, fuel, receipt, receipt_key_id, \
                    receipt_signature, budget_period, budget_amount) \
                SELECT a.* FROM asked a JOIN current c ON c.id = a.event_id AND c.revision = a.event_revision WHERE TRUE ";
        const STILL_WAITING: &str = "AND a.id IN (SELECT id FROM waited) ";
        const WITHOUT_ANSWER: &str = "\
                AND a.id NOT IN (SELECT k.request_id FROM keyed k JOIN idempotency_keys i USING (user_id, key)) ";
        const ONCE: &str = "\
                ORDER BY a.event_id, a.user_id, a.period, a.sequence \
                ON CONFLICT DO NOTHING RETURNING id, event_id, budget_period, budget_amount)";
        const SETTLED: &str = ", \
            settled AS (DELETE FROM received_claims WHERE id IN (SELECT id FROM written) RETURNING 1)";
        const GIVEN: &str = ", \
            given AS ( \
                INSERT INTO grants (id, request_id, reward_id, quantity, reward, granted_at, stock_since) \
                SELECT g.id, g.request_id, g.reward_id, g.quantity, g.reward, g.granted_at, s.since \
                FROM UNNEST($?::UUID[], $?::UUID[], $?::UUID[], $?::BIGINT[], $?::JSONB[], $?::BIGINT[]) \
                    AS g (id, request_id, reward_id, quantity, reward, granted_at) \
                JOIN written w ON w.id = g.request_id LEFT JOIN reward_stock s ON s.reward_id = g.reward_id \
                RETURNING reward_id, quantity, stock_since), \
            told AS ( \
                INSERT INTO outbox (id, kind, user_id, payload, http_request_id, created_at) \
                SELECT o.id, o.kind, o.user_id, o.payload, o.http_request_id, o.created_at \
                FROM UNNEST($?::UUID[], $?::UUID[], $?::TEXT[], $?::UUID[], $?::JSONB[], $?::TEXT[], $?::BIGINT[]) \
                    AS o (request_id, id, kind, user_id, payload, http_request_id, created_at) JOIN written w ON w.id = o.request_id \
                RETURNING 1)";
        const KEPT: &str = ", \
            kept AS ( \
                INSERT INTO idempotency_keys (user_id, key, fingerprint, request_id, response, created_at, expires_at) \
                SELECT k.user_id, k.key, k.fingerprint, k.request_id, k.response, k.created_at, k.expires_at \
                FROM keyed k JOIN written w ON w.id = k.request_id ORDER BY k.user_id, k.key RETURNING 1)";
        const COUNTED: &str = ", \
            spent AS MATERIALIZED ( \
                SELECT event_id, budget_period AS period, COUNT(*) AS grants, SUM(budget_amount)::BIGINT AS amount \
                FROM written WHERE budget_period IS NOT NULL GROUP BY event_id, budget_period), \
            counted AS ( \
                INSERT INTO event_budgets AS b (event_id, period, grants, amount, max_grants, max_amount) \
                SELECT s.event_id, s.period, s.grants, s.amount, c.budget_grants, c.budget_amount \
                FROM spent s JOIN current c ON c.id = s.event_id WHERE TRUE{after} \
                ORDER BY s.event_id, s.period \
                ON CONFLICT (event_id, period) DO UPDATE SET grants = b.grants + excluded.grants, \
                    amount = b.amount + excluded.amount, max_grants = excluded.max_grants, \
                    max_amount = excluded.max_amount \
                RETURNING 1)";
        const TAKEN: &str = ", \
            needed AS MATERIALIZED ( \
                SELECT reward_id, SUM(quantity)::BIGINT AS quantity FROM given WHERE stock_since IS NOT NULL \
                GROUP BY reward_id), \
            held AS MATERIALIZED ( \
                SELECT reward_id FROM reward_stock WHERE reward_id IN (SELECT reward_id FROM needed){after} \
                ORDER BY reward_id FOR NO KEY UPDATE), \
            taken AS ( \
                UPDATE reward_stock s SET remaining = s.remaining - n.quantity \
                FROM held h JOIN needed n USING (reward_id) WHERE s.reward_id = h.reward_id RETURNING 1)";
        const DONE: &str = " \
            SELECT id, NULL::BIGINT AS revision FROM written WHERE TRUE{after} UNION ALL SELECT id, revision FROM current";

        let mut sql = ASKED.to_owned();
        // What must be done before what comes next.
        let mut after = String::new();
        let mut then = |piece: &str, name: Option<&str>| {
            sql.push_str(&piece.replace("{after}", &after));
            if let Some(name) = name {
                after = format!("{after} AND (SELECT COUNT(*) FROM {name}) >= 0");
            }
        };
        if self.waited {
            then(WAITED, None);
        }
        if self.keys {
            then(KEYED, None);
        }
        then(WRITTEN, None);
        if self.waited {
            then(STILL_WAITING, None);
        }
        if self.keys {
            then(WITHOUT_ANSWER, None);
        }
        then(ONCE, None);
        if self.waited {
            then(SETTLED, None);
        }
        if self.grants {
            then(GIVEN, Some("told"));
        }
        if self.keys {
            then(KEPT, Some("kept"));
        }
        if self.budgets {
            then(COUNTED, Some("counted"));
        }
        if self.grants {
            then(TAKEN, Some("taken"));
        }
        then(DONE, None);
        numbered(&sql)
    }
}

/// With `$1`, `$2` and so on in the places of `$?`.
fn numbered(sql: &str) -> String {
    let mut pieces = sql.split("$?");
    let first = pieces.next().unwrap_or_default().to_owned();
    (1..)
        .zip(pieces)
        .fold(first, |text, (place, piece)| format!("{text}${place}{piece}"))
}

/// The table whose CHECK says that a stock does not hold enough.
pub(in crate::claims) const STOCK: &str = "reward_stock";

/// The table whose CHECKs say that a budget does not hold enough.
pub(in crate::claims) const BUDGETS: &str = "event_budgets";

/// The table whose key says that an answer was given meanwhile.
pub(in crate::claims) const KEYS: &str = "idempotency_keys";

/// `None` on SQLite.
pub(in crate::claims) async fn write(db: &Db, set: &[&CommitRecord]) -> Result<Option<Written>> {
    let parts = Parts::of(set);
    let Some(statement) = db.bulk(parts.statement()) else {
        return Ok(None);
    };
    let requests = || set.iter().map(|record| &record.request);
    let receipts = || set.iter().map(|record| &record.receipt);
    let spendings = || set.iter().map(|record| record.spending.as_ref());
    let mut events: Vec<Uuid> = requests().map(|row| row.event_id).collect();
    events.sort_unstable();
    events.dedup();

    let mut statement = statement
        .each(requests().map(|row| row.id))
        .each(requests().map(|row| row.event_id))
        .each(requests().map(|row| row.event_revision))
        .each(requests().map(|row| row.user_id))
        .each(requests().map(|row| row.plugin_digest.to_string()))
        .each(requests().map(|row| row.status.as_str()))
        .each(requests().map(|row| row.period.clone()))
        .each(requests().map(|row| row.sequence))
        .each(requests().map(|row| row.reasons.clone()))
        .each(requests().map(|row| row.progress.clone()))
        .each(requests().map(|row| row.retry_at.map(Timestamp::as_millis)))
        .each(requests().map(|row| row.received_at.as_millis()))
        .each(requests().map(|row| row.decided_at.as_millis()))
        .each(requests().map(|row| row.fuel))
        .each(receipts().map(|row| row.receipt.clone()))
        .each(receipts().map(|row| row.receipt_key_id.clone()))
        .each(receipts().map(|row| row.receipt_signature.clone()))
        .each(spendings().map(|spending| spending.map(|spending| spending.period.clone())))
        .each(spendings().map(|spending| spending.map(|spending| spending.amount)))
        .each(events);
    if parts.waited {
        let waited = || set.iter().filter(|record| record.fence.is_some());
        statement = statement
            .each(waited().map(|record| record.request.id))
            .each(waited().map(|record| record.request.event_id))
            .each(waited().map(|record| record.fence));
    }
    if parts.keys {
        let keyed = || set.iter().filter_map(|record| record.answer.as_ref());
        statement = statement
            .each(keyed().map(|answer| answer.request_id))
            .each(keyed().map(|answer| answer.user_id))
            .each(keyed().map(|answer| answer.key.clone()))
            .each(keyed().map(|answer| answer.fingerprint.clone()))
            .each(keyed().map(|answer| answer.response.clone()))
            .each(keyed().map(|answer| answer.created_at.as_millis()))
            .each(keyed().map(|answer| answer.expires_at.as_millis()));
    }
    if parts.grants {
        let grants = || {
            set.iter()
                .flat_map(|record| record.grants.iter().map(move |grant| (record, grant)))
        };
        let told = || {
            set.iter()
                .filter_map(|record| Some((record.request.id, record.told.as_ref()?)))
        };
        statement = statement
            .each(grants().map(|(_, grant)| grant.id))
            .each(grants().map(|(_, grant)| grant.request_id))
            .each(grants().map(|(_, grant)| grant.reward_id))
            .each(grants().map(|(_, grant)| grant.quantity))
            .each(grants().map(|(_, grant)| grant.reward.clone()))
            .each(grants().map(|(record, _)| record.request.decided_at.as_millis()))
            .each(told().map(|(request_id, _)| request_id))
            .each(told().map(|(_, row)| row.id))
            .each(told().map(|(_, row)| row.kind))
            .each(told().map(|(_, row)| row.user_id))
            .each(told().map(|(_, row)| Json(row.payload.clone())))
            .each(told().map(|(_, row)| row.http_request_id.clone()))
            .each(told().map(|(_, row)| row.created_at.as_millis()));
    }
    let rows: Vec<(Uuid, Option<i64>)> = statement.fetch_all().await?;
    let mut written = Written::default();
    for (id, revision) in rows {
        match revision {
            None => {
                written.requests.insert(id);
            }
            Some(revision) => {
                written.revisions.insert(id, revision);
            }
        }
    }
    Ok(Some(written))
}

/// Which of these requests are there: read after a commit whose outcome nobody knows.
pub(in crate::claims) async fn present(db: &Db, ids: impl IntoIterator<Item = Uuid>) -> Result<HashSet<Uuid>> {
    const SQL: &str = "SELECT id FROM reward_requests WHERE id = ANY ($1::UUID[])";
    let Some(statement) = db.bulk(SQL) else {
        return Ok(HashSet::new());
    };
    let rows: Vec<(Uuid,)> = statement.each(ids).fetch_all().await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// How many are left of those of these rewards that are limited.
pub(in crate::claims) async fn stock(
    db: &Db,
    reward_ids: impl IntoIterator<Item = Uuid>,
) -> Result<HashMap<Uuid, i64>> {
    const SQL: &str = "SELECT reward_id, remaining FROM reward_stock WHERE reward_id = ANY ($1::UUID[])";
    let Some(statement) = db.bulk(SQL) else {
        return Ok(HashMap::new());
    };
    let rows: Vec<(Uuid, i64)> = statement.each(reward_ids).fetch_all().await?;
    Ok(rows.into_iter().collect())
}

/// Grants and amount that were used in those periods of budgets that this set takes from; none before the first grant.
pub(in crate::claims) async fn spent(db: &Db, set: &[&CommitRecord]) -> Result<HashMap<(Uuid, String), (i64, i64)>> {
    const SQL: &str = "SELECT event_id, period, grants, amount FROM event_budgets \
        WHERE (event_id, period) IN (SELECT * FROM UNNEST($1::UUID[], $2::TEXT[]))";
    let periods: HashSet<(Uuid, &str)> = set
        .iter()
        .filter_map(|record| Some((record.request.event_id, record.spending.as_ref()?.period.as_str())))
        .collect();
    if periods.is_empty() {
        return Ok(HashMap::new());
    }
    let Some(statement) = db.bulk(SQL) else {
        return Ok(HashMap::new());
    };
    let rows: Vec<(Uuid, String, i64, i64)> = statement
        .each(periods.iter().map(|(event_id, _)| *event_id))
        .each(periods.iter().map(|(_, period)| (*period).to_owned()))
        .fetch_all()
        .await?;
    Ok(rows
        .into_iter()
        .map(|(event_id, period, grants, amount)| ((event_id, period), (grants, amount)))
        .collect())
}
