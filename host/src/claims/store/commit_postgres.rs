//! The statement that writes a batch of commit records on PostgreSQL.
//!
//! It writes `reward_stock`, `granted_codes`, `event_budgets` and `transparency_queue` and locks `events` for their features, so that a commit costs one round
//! trip for any number of claims. `commit_rows` and the features' own statements do the same row by row.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{CommitRecord, GrantRow};
use crate::clock::{Clock, Timestamp};
use crate::db::{Bulk, Json, Result};
use crate::outbox;

/// What the statement wrote.
#[derive(Debug)]
pub(in crate::claims) struct Written {
    /// The requests that it inserted. The other records left nothing behind.
    pub requests: HashSet<Uuid>,
    /// The revisions of the events, which the statement locked until its commit.
    pub revisions: HashMap<Uuid, i64>,
}

/// The parts of the statement that a batch needs: every part costs something, even if it has nothing to do.
///
/// Each record is written whole or not at all, and a record that is not written does not stop the others: its event is at
/// another revision, its slot or its number in the event group is taken, or its Idempotency-Key has a response. Where only the whole statement can fail, a
/// constraint makes it fail: `reward_stock` or `event_budgets` has too little left for the batch, or a key got its response
/// between the beginning and the end of the statement.
///
/// `gate` is the queue for an event's row: PostgreSQL gives a shared lock on a row to every claim that asks, so a change of a popular
/// event would wait as long as claims arrive. An advisory lock is given in the order of the requests.
///
/// The unique keys of requests belong to users, so requests are inserted user by user.
///
/// Every transaction locks in this order: events, requests, keys, budgets, stock, each by its key. Therefore no two
/// batches wait for each other. The counts of `messages` and `responses`, and of `budgets` after them, make budgets and
/// stock the last locks: every other batch that takes from the same rows waits from then on until the commit.
#[expect(clippy::struct_excessive_bools, reason = "the parts are independent")]
struct Parts {
    /// Some record has an Idempotency-Key.
    keys: bool,
    /// Something is granted.
    grants: bool,
    /// Some grant takes from a budget.
    budgets: bool,
    /// Some grant gets codes.
    codes: bool,
    /// The claims were pending: all of a batch were, or none.
    pending: bool,
}

impl Parts {
    fn of(records: &[&CommitRecord]) -> Self {
        Self {
            keys: records.iter().any(|record| record.response.is_some()),
            grants: records.iter().any(|record| !record.messages.is_empty()),
            budgets: records.iter().any(|record| record.spending.is_some()),
            codes: records.iter().any(|record| record.grants.iter().any(has_codes)),
            pending: records.iter().any(|record| record.fence.is_some()),
        }
    }

    /// `$?` is the next placeholder, `{after}` a condition that runs a part after the ones before it.
    #[expect(clippy::too_many_lines, reason = "one statement, in the order in which it runs")]
    fn statement(&self) -> String {
        const INPUT: &str = concat!(
            "WITH input AS MATERIALIZED (SELECT * FROM UNNEST( \
                $?::UUID[], $?::UUID[], $?::BIGINT[], $?::UUID[], $?::TEXT[], $?::TEXT[], $?::TEXT[], $?::BIGINT[], \
                $?::JSONB[], $?::JSONB[], $?::BIGINT[], $?::BIGINT[], $?::BIGINT[], $?::BIGINT[], $?::TEXT[], \
                $?::BYTEA[], $?::BYTEA[], $?::BYTEA[], $?::TEXT[], $?::BYTEA[], $?::TEXT[], $?::BIGINT[], $?::TEXT[], \
                $?::TEXT[], $?::BIGINT[], $?::UUID[]) AS i (",
            columns!(reward_requests),
            ")), \
            gate AS MATERIALIZED ( \
                SELECT id, pg_advisory_xact_lock_shared(hashtextextended(id::TEXT, 0)) \
                FROM (SELECT UNNEST($?::UUID[]) AS id ORDER BY id) AS event), \
            current AS MATERIALIZED ( \
                SELECT id, revision, budget_grants, budget_amount FROM events \
                WHERE id IN (SELECT id FROM gate) AND deleted_at IS NULL ORDER BY id FOR SHARE)"
        );
        const PENDING: &str = ", \
            pending AS MATERIALIZED ( \
                SELECT c.id FROM UNNEST($?::UUID[], $?::UUID[], $?::UUID[], $?::BIGINT[]) \
                    AS p (user_id, request_id, event_id, fence) \
                JOIN claim_queues q ON q.event_id = p.event_id AND q.fence = p.fence \
                JOIN pending_claims c ON c.user_id = p.user_id AND c.id = p.request_id FOR SHARE OF q)";
        const KEYED: &str = concat!(
            ", keyed AS MATERIALIZED (SELECT * FROM UNNEST( \
                $?::UUID[], $?::TEXT[], $?::BYTEA[], $?::UUID[], $?::TEXT[], $?::BIGINT[], $?::BIGINT[]) AS k (",
            columns!(idempotency_keys),
            "))"
        );
        const REQUESTS: &str = concat!(
            ", requests AS (INSERT INTO reward_requests (",
            columns!(reward_requests),
            ") SELECT i.* FROM input i JOIN current c ON c.id = i.event_id AND c.revision = i.event_revision WHERE TRUE "
        );
        const IF_PENDING: &str = "AND i.id IN (SELECT id FROM pending) ";
        const WITHOUT_RESPONSE: &str = "\
                AND i.id NOT IN (SELECT k.request_id FROM keyed k JOIN idempotency_keys USING (user_id, key)) ";
        const ONCE: &str = "\
                ORDER BY i.user_id, i.group_name, i.event_id, i.period, i.slot \
                ON CONFLICT DO NOTHING RETURNING user_id, id, event_id, budget_period, budget_amount), \
            logged AS (INSERT INTO transparency_queue (source, id) SELECT 'request', id FROM requests RETURNING 1)";
        const DEQUEUE: &str = ", \
            dequeued AS (DELETE FROM pending_claims p USING requests r WHERE p.user_id = r.user_id AND p.id = r.id \
                RETURNING 1)";
        const GRANTS: &str = concat!(
            ", granted AS (INSERT INTO grants (",
            columns!(grants),
            ") SELECT r.user_id, g.id, g.request_id, g.reward_id, r.event_id, g.quantity, g.reward, g.granted_at, s.since \
                FROM UNNEST($?::UUID[], $?::UUID[], $?::UUID[], $?::BIGINT[], $?::JSONB[], $?::BIGINT[]) \
                    AS g (id, request_id, reward_id, quantity, reward, granted_at) \
                JOIN requests r ON r.id = g.request_id LEFT JOIN reward_stock s ON s.reward_id = g.reward_id \
                RETURNING id, reward_id, quantity, stock_since), \
            messages AS ( \
                INSERT INTO outbox (id, kind, user_id, payload, http_request_id, created_at, once_key) \
                SELECT o.id, o.kind, o.user_id, o.payload, o.http_request_id, o.created_at, o.once_key \
                FROM UNNEST($?::UUID[], $?::UUID[], $?::TEXT[], $?::UUID[], $?::JSONB[], $?::TEXT[], $?::BIGINT[], \
                        $?::TEXT[]) AS o (request_id, id, kind, user_id, payload, http_request_id, created_at, once_key) \
                JOIN requests r ON r.id = o.request_id ORDER BY o.once_key \
                ON CONFLICT (once_key) WHERE once_key IS NOT NULL DO NOTHING \
                RETURNING 1)"
        );
        const RESPONSES: &str = concat!(
            ", responses AS (INSERT INTO idempotency_keys (",
            columns!(idempotency_keys),
            ") SELECT k.* FROM keyed k JOIN requests r ON r.id = k.request_id ORDER BY k.user_id, k.key RETURNING 1)"
        );
        const BUDGETS: &str = ", \
            spent AS MATERIALIZED ( \
                SELECT event_id, budget_period AS period, COUNT(*) AS grants, SUM(budget_amount)::BIGINT AS amount \
                FROM requests WHERE budget_period IS NOT NULL GROUP BY event_id, budget_period), \
            budgets AS ( \
                INSERT INTO event_budgets AS b (event_id, period, grants, amount, max_grants, max_amount) \
                SELECT s.event_id, s.period, s.grants, s.amount, c.budget_grants, c.budget_amount \
                FROM spent s JOIN current c ON c.id = s.event_id WHERE TRUE{after} \
                ORDER BY s.event_id, s.period \
                ON CONFLICT (event_id, period) DO UPDATE SET grants = b.grants + excluded.grants, \
                    amount = b.amount + excluded.amount, max_grants = excluded.max_grants, \
                    max_amount = excluded.max_amount \
                RETURNING 1)";
        const STOCK: &str = ", \
            needed AS MATERIALIZED ( \
                SELECT reward_id, SUM(quantity)::BIGINT AS quantity FROM granted WHERE stock_since IS NOT NULL \
                GROUP BY reward_id), \
            locked AS MATERIALIZED ( \
                SELECT reward_id FROM reward_stock WHERE reward_id IN (SELECT reward_id FROM needed){after} \
                ORDER BY reward_id FOR NO KEY UPDATE), \
            stock AS ( \
                UPDATE reward_stock s SET remaining = s.remaining - n.quantity \
                FROM locked l JOIN needed n USING (reward_id) WHERE s.reward_id = l.reward_id RETURNING 1)";
        // The row of the stock is locked, so the next codes of the reward belong to this batch: their rows need no search.
        // `locked` has the newest version of the row, from before the update.
        const STOCK_AND_CODES: &str = ", \
            needed AS MATERIALIZED ( \
                SELECT reward_id, SUM(quantity)::BIGINT AS quantity FROM granted WHERE stock_since IS NOT NULL \
                GROUP BY reward_id), \
            locked AS MATERIALIZED ( \
                SELECT reward_id, low_told FROM reward_stock WHERE reward_id IN (SELECT reward_id FROM needed){after} \
                ORDER BY reward_id FOR NO KEY UPDATE), \
            stock AS ( \
                UPDATE reward_stock s SET remaining = s.remaining - n.quantity, next_code = s.next_code + n.quantity, \
                    low_told = CASE WHEN s.remaining - n.quantity < s.low_water THEN s.total ELSE s.low_told END \
                FROM locked l JOIN needed n USING (reward_id) WHERE s.reward_id = l.reward_id \
                RETURNING s.reward_id, s.next_code - n.quantity AS first_code, s.remaining, s.total, s.low_water, \
                    l.low_told AS told_before), \
            numbered AS MATERIALIZED ( \
                SELECT id, reward_id, quantity, \
                    SUM(quantity) OVER (PARTITION BY reward_id ORDER BY id)::BIGINT - quantity AS earlier FROM granted), \
            codes AS ( \
                INSERT INTO granted_codes (grant_id, n, reward_id, position) \
                SELECT g.id, n, g.reward_id, s.first_code + g.earlier + n - 1 \
                FROM numbered g JOIN stock s USING (reward_id) CROSS JOIN GENERATE_SERIES(1, g.quantity) AS n \
                WHERE s.first_code IS NOT NULL RETURNING 1), \
            low AS ( \
                INSERT INTO outbox (id, kind, subject_id, payload, created_at) \
                SELECT m.id, m.kind, s.reward_id, JSONB_BUILD_OBJECT('rewardId', s.reward_id, 'remaining', s.remaining, \
                    'total', s.total, 'lowWater', s.low_water), m.created_at \
                FROM UNNEST($?::UUID[], $?::UUID[], $?::TEXT[], $?::BIGINT[]) AS m (reward_id, id, kind, created_at) \
                JOIN stock s USING (reward_id) \
                WHERE s.remaining < s.low_water AND s.told_before IS DISTINCT FROM s.total RETURNING 1)";
        const RESULT: &str = " \
            SELECT id, NULL::BIGINT AS revision FROM requests WHERE TRUE{after} \
            UNION ALL SELECT id, revision FROM current";

        let mut sql = INPUT.to_owned();
        let mut after = String::new();
        let mut add = |part: &str, name: Option<&str>| {
            sql.push_str(&part.replace("{after}", &after));
            if let Some(name) = name {
                after = format!("{after} AND (SELECT COUNT(*) FROM {name}) >= 0");
            }
        };
        if self.pending {
            add(PENDING, None);
        }
        if self.keys {
            add(KEYED, None);
        }
        add(REQUESTS, None);
        if self.pending {
            add(IF_PENDING, None);
        }
        if self.keys {
            add(WITHOUT_RESPONSE, None);
        }
        add(ONCE, None);
        if self.pending {
            add(DEQUEUE, None);
        }
        if self.grants {
            add(GRANTS, Some("messages"));
        }
        if self.keys {
            add(RESPONSES, Some("responses"));
        }
        if self.budgets {
            add(BUDGETS, Some("budgets"));
        }
        if self.codes {
            add(STOCK_AND_CODES, Some("codes"));
        } else if self.grants {
            add(STOCK, Some("stock"));
        }
        add(RESULT, None);
        numbered(&sql)
    }
}

fn has_codes(grant: &GrantRow) -> bool {
    grant.reward.0.codes
}

/// Replaces each `$?` by `$1`, `$2` and so on.
fn numbered(sql: &str) -> String {
    let mut pieces = sql.split("$?");
    let first = pieces.next().unwrap_or_default().to_owned();
    (1..)
        .zip(pieces)
        .fold(first, |text, (number, piece)| format!("{text}${number}{piece}"))
}

/// The table whose CHECK fails when the stock of a reward is too small.
pub(in crate::claims) const STOCK: &str = "reward_stock";

/// The table whose CHECKs fail when the rest of a budget is too small.
pub(in crate::claims) const BUDGETS: &str = "event_budgets";

/// The table whose key fails when a key got a response meanwhile.
pub(in crate::claims) const KEYS: &str = "idempotency_keys";

/// Writes the records, or nothing if the statement fails.
#[expect(clippy::too_many_lines, reason = "one statement, its parameters in their order")]
pub(in crate::claims) async fn write(bulk: &Bulk, clock: &Clock, records: &[&CommitRecord]) -> Result<Written> {
    let parts = Parts::of(records);
    let requests = || records.iter().map(|record| &record.request);
    let receipts = || records.iter().map(|record| &record.receipt);
    let seals = || records.iter().map(|record| &record.seal);
    let spendings = || records.iter().map(|record| record.spending.as_ref());
    let groups = || records.iter().map(|record| record.group.as_ref());
    let mut events: Vec<Uuid> = requests().map(|row| row.event_id).collect();
    events.sort_unstable();
    events.dedup();

    let mut statement = bulk
        .statement(parts.statement())
        .each(requests().map(|row| row.id))
        .each(requests().map(|row| row.event_id))
        .each(requests().map(|row| row.event_revision))
        .each(requests().map(|row| row.user_id))
        .each(requests().map(|row| row.plugin_digest.to_string()))
        .each(requests().map(|row| row.status.as_str()))
        .each(requests().map(|row| row.period.clone()))
        .each(requests().map(|row| row.slot))
        .each(requests().map(|row| row.reasons.clone()))
        .each(requests().map(|row| row.progress.clone()))
        .each(requests().map(|row| row.retry_at.map(Timestamp::as_millis)))
        .each(requests().map(|row| row.received_at.as_millis()))
        .each(requests().map(|row| row.decided_at.as_millis()))
        .each(requests().map(|row| row.fuel))
        .each(receipts().map(|receipt| receipt.text.clone()))
        .each(receipts().map(|receipt| receipt.salt.to_vec()))
        .each(receipts().map(|receipt| receipt.digest.as_bytes().to_vec()))
        .each(seals().map(|seal| seal.path.clone()))
        .each(seals().map(|seal| seal.key_id.clone()))
        .each(seals().map(|seal| seal.signature.clone()))
        .each(spendings().map(|spending| spending.map(|spending| spending.period.clone())))
        .each(spendings().map(|spending| spending.map(|spending| spending.amount)))
        .each(records.iter().map(|record| record.refusal.clone()))
        .each(groups().map(|group| group.map(|(name, _)| name.clone())))
        .each(groups().map(|group| group.map(|(_, slot)| *slot)))
        .each(requests().map(|row| row.make_good_id))
        .each(events);
    if parts.pending {
        let pending = || records.iter().filter(|record| record.fence.is_some());
        statement = statement
            .each(pending().map(|record| record.request.user_id))
            .each(pending().map(|record| record.request.id))
            .each(pending().map(|record| record.request.event_id))
            .each(pending().map(|record| record.fence));
    }
    if parts.keys {
        let responses = || records.iter().filter_map(|record| record.response.as_ref());
        statement = statement
            .each(responses().map(|row| row.user_id))
            .each(responses().map(|row| row.key.clone()))
            .each(responses().map(|row| row.fingerprint.clone()))
            .each(responses().map(|row| row.request_id))
            .each(responses().map(|row| row.response.clone()))
            .each(responses().map(|row| row.created_at.as_millis()))
            .each(responses().map(|row| row.expires_at.as_millis()));
    }
    if parts.grants {
        let grants = || {
            records
                .iter()
                .flat_map(|record| record.grants.iter().map(move |grant| (record, grant)))
        };
        let messages = || {
            records
                .iter()
                .flat_map(|record| record.messages.iter().map(|message| (record.request.id, message)))
        };
        statement = statement
            .each(grants().map(|(_, grant)| grant.id))
            .each(grants().map(|(_, grant)| grant.request_id))
            .each(grants().map(|(_, grant)| grant.reward_id))
            .each(grants().map(|(_, grant)| grant.quantity))
            .each(grants().map(|(_, grant)| grant.reward.clone()))
            .each(grants().map(|(record, _)| record.request.decided_at.as_millis()))
            .each(messages().map(|(request_id, _)| request_id))
            .each(messages().map(|(_, row)| row.id))
            .each(messages().map(|(_, row)| row.kind))
            .each(messages().map(|(_, row)| row.user_id))
            .each(messages().map(|(_, row)| Json(row.payload.clone())))
            .each(messages().map(|(_, row)| row.http_request_id.clone()))
            .each(messages().map(|(_, row)| row.created_at.as_millis()))
            .each(messages().map(|(_, row)| row.once_key.clone()));
    }
    if parts.codes {
        // A message for each reward with codes, in case that few are left.
        let mut low: Vec<(Uuid, i64)> = records
            .iter()
            .flat_map(|record| {
                let with_codes = record.grants.iter().filter(|grant| has_codes(grant));
                with_codes.map(|grant| (grant.reward_id, record.request.decided_at.as_millis()))
            })
            .collect();
        low.sort_unstable();
        low.dedup_by_key(|(reward_id, _)| *reward_id);
        statement = statement
            .each(low.iter().map(|(reward_id, _)| *reward_id))
            .each(low.iter().map(|_| clock.new_id()))
            .each(low.iter().map(|_| outbox::REWARD_CODES_LOW))
            .each(low.iter().map(|(_, created_at)| *created_at));
    }
    let rows: Vec<(Uuid, Option<i64>)> = statement.fetch_all().await?;
    let mut written = Written {
        requests: HashSet::new(),
        revisions: HashMap::new(),
    };
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
    Ok(written)
}

/// Which of these requests exist: for a commit whose outcome is unknown.
pub(in crate::claims) async fn find_requests(bulk: &Bulk, ids: Vec<Uuid>) -> Result<HashSet<Uuid>> {
    const SQL: &str = "SELECT id FROM reward_requests WHERE id = ANY ($1::UUID[])";
    let rows: Vec<(Uuid,)> = bulk.statement(SQL).each(ids).fetch_all().await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// The remaining stock of the limited ones of these rewards.
pub(in crate::claims) async fn stock(
    bulk: &Bulk,
    reward_ids: impl IntoIterator<Item = Uuid>,
) -> Result<HashMap<Uuid, i64>> {
    const SQL: &str = "SELECT reward_id, remaining FROM reward_stock WHERE reward_id = ANY ($1::UUID[])";
    let rows: Vec<(Uuid, i64)> = bulk.statement(SQL).each(reward_ids).fetch_all().await?;
    Ok(rows.into_iter().collect())
}

/// Grants and amount spent in the budget periods of these records; a period without a grant has no entry.
pub(in crate::claims) async fn spent(
    bulk: &Bulk,
    records: &[&CommitRecord],
) -> Result<HashMap<(Uuid, String), (i64, i64)>> {
    const SQL: &str = "SELECT event_id, period, grants, amount FROM event_budgets \
        WHERE (event_id, period) IN (SELECT * FROM UNNEST($1::UUID[], $2::TEXT[]))";
    let period_of = |record: &&CommitRecord| {
        let spending = record.spending.as_ref()?;
        Some((record.request.event_id, spending.period.clone()))
    };
    let periods: HashSet<(Uuid, String)> = records.iter().filter_map(period_of).collect();
    if periods.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, String, i64, i64)> = bulk
        .statement(SQL)
        .each(periods.iter().map(|(event_id, _)| *event_id))
        .each(periods.iter().map(|(_, period)| period.clone()))
        .fetch_all()
        .await?;
    Ok(rows
        .into_iter()
        .map(|(event_id, period, grants, amount)| ((event_id, period), (grants, amount)))
        .collect())
}
