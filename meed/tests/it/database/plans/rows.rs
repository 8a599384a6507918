//! SQL that fills every table that grows with users and claims, with rows as the stores write them. The benchmark `fill`
//! includes this file.
//!
//! Most rows belong to others: half of the requests are of one popular event, the rest of a thousand events. Each user has
//! one request; most messages are delivered, and some are kept by an endpoint that is paused.

/// The span of the rows' times, whatever their number.
const SPAN: u64 = 30 * 24 * 3_600_000;

/// An id from long ago.
const OLD: &str = "00000000-0001-7000-8000-000000000001";

/// `claims.max_pending`.
const MOST_PENDING: u64 = 100_000;

/// Rows for one database. Ids are UUIDs as text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub is_postgres: bool,
    pub count: u64,
    /// The time after the last row, in milliseconds.
    pub now: u64,
    pub event: &'a str,
    pub reward: &'a str,
    pub release: &'a str,
    /// Has attributes that changed often.
    pub user: &'a str,
    /// The endpoint that everything was delivered to; it exists.
    pub endpoint: &'a str,
}

impl Rows<'_> {
    /// The statements, to be run in their order.
    pub(crate) fn statements(&self) -> Vec<String> {
        STATEMENTS.iter().map(|statement| self.filled_in(statement)).collect()
    }

    fn filled_in(&self, statement: &str) -> String {
        let count = self.count;
        let (rows, bytes, hash) = if self.is_postgres {
            (
                format!("generate_series(1::BIGINT, {count}) AS s (n)"),
                r"'\x00'::BYTEA",
                "uuid_send({id})",
            )
        } else {
            let series = format!("SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}");
            (
                format!("(WITH RECURSIVE s (n) AS ({series}) SELECT n FROM s) AS s"),
                "x'00'",
                "{id}",
            )
        };
        let leaves = count / 256 * 256;
        let zeros = |hashes: u64| {
            if self.is_postgres {
                format!("decode(repeat('00', {}), 'hex')", 32 * hashes)
            } else {
                format!("zeroblob({})", 32 * hashes)
            }
        };
        let mut sql = statement
            .replace("{rows}", &rows)
            .replace("{bytes}", bytes)
            .replace("{hash}", hash)
            .replace("{leaves}", &leaves.to_string())
            .replace("{zeros:256}", &zeros(256))
            .replace("{zeros:top}", &zeros(leaves / 65_536))
            .replace("{zeros:rest}", &zeros(leaves / 256 % 256))
            .replace("{event}", &self.literal(self.event))
            .replace("{reward}", &self.literal(self.reward))
            .replace("{release}", &self.literal(self.release))
            .replace("{user}", &self.literal(self.user))
            .replace("{endpoint}", &self.literal(self.endpoint))
            .replace("{id}", "{id:n}")
            .replace("{paused}", "{id:0}")
            .replace("{old}", &self.literal(OLD))
            .replace("{at}", &format!("({} + n * {})", self.from(), self.step()))
            .replace("{now}", &self.now.to_string())
            .replace("{pending}", &MOST_PENDING.to_string())
            .replace("{digest}", &format!("'sha256:{}'", "0".repeat(64)));
        while let Some((before, rest)) = sql.split_once("{id:") {
            let (of, after) = rest.split_once('}').expect("a closing brace");
            sql = format!("{before}{}{after}", self.id(of));
        }
        sql
    }

    /// The id of a row, as text without hyphens.
    #[allow(dead_code, reason = "only the benchmark needs it")]
    pub(crate) fn id_of(&self, row: u64) -> String {
        format!("{:012x}70008000{row:012x}", self.from() + row * self.step())
    }

    fn from(&self) -> u64 {
        self.now - SPAN
    }

    fn step(&self) -> u64 {
        SPAN / (self.count + 1)
    }

    /// A `UUIDv7` of the time of row `of`, which ends with its number.
    fn id(&self, of: &str) -> String {
        let at = format!("{} + ({of}) * {}", self.from(), self.step());
        if self.is_postgres {
            let hex = |number: &str| format!("lpad(to_hex(({number})::BIGINT), 12, '0')");
            format!("({} || '70008000' || {})::UUID", hex(&at), hex(of))
        } else {
            format!("unhex(printf('%012x70008000%012x', {at}, {of}))")
        }
    }

    fn literal(&self, id: &str) -> String {
        if self.is_postgres {
            format!("'{id}'::UUID")
        } else {
            format!("x'{}'", id.replace('-', ""))
        }
    }
}

/// `{rows}` numbers rows as `n`, `{id}` and `{at}` are the id and the time of a row, which the tables share, and `{id:x}` is
/// the id of row `x`. `{paused}` is an endpoint.
const STATEMENTS: &[&str] = &[
    "INSERT INTO users (id, email, password_hash, role, invite_code, invited_by, disabled, created_at) \
     SELECT {id}, 'u' || n || '@fill.example', '', CASE WHEN n % 1000 = 7 THEN 'OPERATOR' ELSE 'USER' END, 'i' || n, \
        CASE WHEN n % 1000 = 9 THEN {user} END, FALSE, {at} FROM {rows}",
    "INSERT INTO user_directory (kind, value, user_id) SELECT 'EMAIL', 'u' || n || '@fill.example', {id} FROM {rows}",
    "INSERT INTO user_directory (kind, value, user_id) SELECT 'INVITE_CODE', 'i' || n, {id} FROM {rows}",
    "INSERT INTO user_directory (kind, value, user_id) SELECT 'EXTERNAL_ID', 'x' || n, {id} FROM {rows}",
    "INSERT INTO user_erasures (user_id, requested_at, requested_by, due_at, was_disabled, begun_at, completed_at) \
     SELECT {id}, {at}, {id}, {at}, FALSE, {at}, {at} FROM {rows} WHERE n % 10 = 4",
    "INSERT INTO user_attributes (user_id, name, set_at, id, value) SELECT {id}, 'level', {at}, {id}, '7' FROM {rows}",
    "INSERT INTO user_attributes (user_id, name, set_at, id, value) \
     SELECT {user}, 'a' || (n % 3), {at}, {id}, 'x' FROM {rows} WHERE n <= 5000",
    "INSERT INTO password_resets (user_id, by_mail, hash, created_at, expires_at) \
     SELECT {id}, FALSE, {hash}, {at}, {now} FROM {rows} WHERE n % 10 = 0",
    "INSERT INTO email_confirmations (user_id, hash, expires_at) SELECT {id}, {hash}, {now} FROM {rows} WHERE n % 10 = 0",
    "INSERT INTO mails (id, kind, email_key, state, attempts, created_at, next_at) \
     SELECT {id}, 'PASSWORD_RESET', 'u' || n || '@fill.example', CASE WHEN n <= 900 THEN 'PENDING' ELSE 'SENT' END, 1, {at}, \
        {now} + 1000000000 + n FROM {rows}",
    "INSERT INTO pending_invitations (user_id, inviter_id, registered_at) SELECT {id}, {user}, {at} FROM {rows} \
     WHERE n % 10 = 9",
    "INSERT INTO sessions (user_id, id, created_at, expires_at) SELECT {id}, {id}, {at}, {now} + 1000000000 + n FROM {rows}",
    "INSERT INTO refresh_tokens (user_id, hash, session_id, created_at, expires_at) \
     SELECT {id}, {hash}, {id}, {at}, {now} + 1000000000 + n FROM {rows}",
    "INSERT INTO activities (user_id, source, source_id, id, kind, attributes, occurred_at, recorded_at) \
     SELECT {id}, 'fill', 'a' || n, {id}, 'auth.login', '{}', {at}, {at} FROM {rows}",
    // The user has many, and what is maintained for them.
    "INSERT INTO activities (user_id, source, source_id, id, kind, attributes, occurred_at, recorded_at) \
     SELECT {user}, 'fill', 'l' || n, {id}, 'auth.login', '{}', {at}, {at} FROM {rows} WHERE n <= 5000",
    "INSERT INTO fact_heads (user_id, kind, series, through_at, through_id, state) \
     SELECT {id}, 'auth.login', n, {at}, {id}, 'BUILT' FROM {rows}",
    "INSERT INTO fact_heads (user_id, kind, series, through_at, through_id, state) \
     SELECT {user}, kind, id, {now}, {old}, 'BUILT' FROM fact_series WHERE kind = 'auth.login'",
    "INSERT INTO fact_marks (user_id, series, at, id, n, sum, last_at) SELECT {id}, n, {at}, {id}, 1, 1, {at} FROM {rows}",
    "INSERT INTO fact_compactions (user_id, kind, until, compacted_at, n, sum, is_done) \
     SELECT {id}, 'auth.login', 1, 1, 1, 1, TRUE FROM {rows}",
    "INSERT INTO fact_days (user_id, series, word, bits) SELECT {id}, n, 330, 1 FROM {rows}",
    "INSERT INTO activity_directory (source, source_id, user_id) SELECT 'fill', 'a' || n, {id} FROM {rows}",
    "INSERT INTO reward_requests (id, event_id, event_revision, user_id, plugin_digest, status, period, slot, reasons, \
        progress, received_at, decided_at, fuel, receipt_digest, receipt_path, receipt_key_id, receipt_signature, refusal, \
        retry_at) \
     SELECT {id}, CASE WHEN n % 2 = 0 THEN {event} ELSE {id:n % 1000} END, 1, {id}, {digest}, \
        CASE WHEN n % 50 = 0 THEN 'REVERSED' WHEN n % 5 = 0 THEN 'GRANTED' WHEN n % 5 = 1 THEN 'FAILED' \
            WHEN n % 100 = 12 THEN 'HELD' ELSE 'REJECTED' END, \
        'once', 1, '[]', '[]', {at}, {at}, 5000, {bytes}, {bytes}, '', {bytes}, CASE WHEN n % 5 > 1 AND n % 100 <> 12 THEN 'r' || n END, \
        CASE WHEN n % 100 = 12 THEN {now} + 1000000000 + n END \
     FROM {rows}",
    "INSERT INTO grants (user_id, id, request_id, reward_id, event_id, quantity, reward, granted_at, reversed, fulfilment) \
     SELECT {id}, {id}, {id}, {reward}, CASE WHEN n % 2 = 0 THEN {event} ELSE {id:n % 1000} END, 1, \
        '{\"type\": \"ITEM\", \"revision\": 1}', {at}, n % 50 = 0, \
        CASE WHEN n % 15 = 0 THEN 'DELIVERED' WHEN n % 35 = 0 THEN 'FAILED' ELSE 'PENDING' END FROM {rows} WHERE n % 5 = 0",
    "INSERT INTO fulfilments (user_id, grant_id, state, changed_at) \
     SELECT {id}, {id}, CASE WHEN n % 15 = 0 THEN 'DELIVERED' ELSE 'FAILED' END, {at} FROM {rows} \
     WHERE n % 15 = 0 OR n % 35 = 0",
    "INSERT INTO release_divergences (user_id, id, release_id, event_id, event_revision, request_id, kind, decided_by, stable, \
        candidate, decided_at) \
     SELECT {id}, {id}, CASE WHEN n % 2 = 0 THEN {release} ELSE {id:n % 1000} END, {event}, 1, {id}, \
        CASE WHEN n % 3 = 0 THEN 'ALLOW_TO_DENY' ELSE 'DENY_TO_ALLOW' END, 'STABLE', '{}', '{}', {at} FROM {rows}",
    "INSERT INTO release_counters (release_id, event_revision, arm, hour, totals) \
     SELECT {id}, 1, 'STABLE', {at}, '{}' FROM {rows}",
    "INSERT INTO reversals (user_id, request_id, id, reason, reversed_by, reversed_at, receipt_digest, receipt_path, \
        receipt_key_id, receipt_signature) \
     SELECT {id}, {id}, {id}, 'fill', {user}, {at}, {bytes}, {bytes}, '', {bytes} FROM {rows} WHERE n % 50 = 0",
    "INSERT INTO idempotency_keys (user_id, key, fingerprint, request_id, response, created_at, expires_at) \
     SELECT {id}, 'k', {bytes}, {id}, '{}', {at}, {now} + 1000000000 + n FROM {rows}",
    "INSERT INTO pending_claims (id, event_id, user_id, received_at, event_revision, plugin_digest, period, attempts, \
        retry_at) \
     SELECT {id}, CASE WHEN n % 2 = 0 THEN {id} ELSE {id:1} END, {id}, {at}, 1, {digest}, 'once', 1, {now} + 1000000000 + n \
     FROM {rows} WHERE n <= {pending}",
    "INSERT INTO claim_queues (event_id, fence, lease_until) SELECT {id}, 1, 0 FROM {rows} WHERE n % 2 = 0",
    "INSERT INTO event_budgets (event_id, period, grants, amount) SELECT {event}, 'p' || n, 1, 1 FROM {rows}",
    "INSERT INTO reward_codes (reward_id, position, digest, code) SELECT {reward}, n, {hash}, {bytes} FROM {rows}",
    "INSERT INTO granted_codes (grant_id, n, reward_id, position) SELECT {id}, 1, {reward}, n FROM {rows}",
    "INSERT INTO outbox (id, kind, user_id, payload, created_at, sent_at) \
     SELECT {id}, 'reward.granted', {id}, '{}', {at}, {at} FROM {rows}",
    "INSERT INTO webhook_endpoints (id, name, url, types, acknowledges, state, secret, revision, created_by, created_at, \
        updated_at, fence, lease_until) \
     VALUES ({paused}, 'paused', 'http://127.0.0.1:9', '[]', FALSE, 'PAUSED', {bytes}, 1, {user}, 0, 0, 0, 0)",
    "INSERT INTO webhook_deliveries (endpoint_id, message_id, ordering_key, created_at, status, attempts, next_at, \
        finished_at) \
     SELECT {paused}, {id}, {id}, {at}, CASE n % 10 WHEN 0 THEN 'PENDING' WHEN 1 THEN 'PARKED' ELSE 'DELIVERED' END, 1, {at}, \
        CASE n % 10 WHEN 0 THEN NULL ELSE {now} END FROM {rows}",
    "INSERT INTO webhook_deliveries (endpoint_id, message_id, ordering_key, created_at, status, attempts, next_at, \
        finished_at) \
     SELECT {endpoint}, {id}, {id}, {at}, 'DELIVERED', 1, {at}, {now} FROM {rows}",
    "INSERT INTO audit_log (id, at, actor_kind, actor_id, action, target_kind, target_id, outcome, changes, occurrences) \
     SELECT {id}, {at}, CASE WHEN n % 10 = 0 THEN 'USER' ELSE 'ANONYMOUS' END, CASE WHEN n % 10 = 0 THEN {user} END, \
        'POST /auth/login', 'user', 't' || (n % 1000), CASE n % 10 WHEN 0 THEN 'DONE' WHEN 1 THEN 'FAILED' ELSE 'REFUSED' END, \
        '{}', 1 FROM {rows}",
    // Leaves of rows that are gone, in full tiles of the lowest level.
    "INSERT INTO transparency_log (name, size, fence, lease_until) VALUES ('log', {leaves}, 0, 0)",
    "INSERT INTO transparency_leaves (position, kind, id, content) SELECT n - 1, 'audit-entry', {id}, {hash} FROM {rows} \
     WHERE n <= {leaves}",
    "INSERT INTO transparency_tiles (level, position, hashes) SELECT 0, n - 1, {zeros:256} FROM {rows} WHERE n <= {leaves} / 256",
    "INSERT INTO transparency_tiles (level, position, hashes) SELECT 1, n - 1, {zeros:256} FROM {rows} \
     WHERE n <= {leaves} / 65536",
    "INSERT INTO transparency_tiles (level, position, hashes) SELECT 1, {leaves} / 65536, {zeros:rest} FROM {rows} WHERE n = 1",
    "INSERT INTO transparency_tiles (level, position, hashes) SELECT 2, 0, {zeros:top} FROM {rows} \
     WHERE n = 1 AND {leaves} >= 65536",
    "INSERT INTO transparency_checkpoints (size, created_at, first_of_day, note) SELECT n, {at}, n % 100 = 0, \
        'fill\n' || n || '\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u{2014} fill AAAA\n' FROM {rows} WHERE n < {leaves}",
    "INSERT INTO transparency_removals (id, kind, lower_than, removed_at) SELECT {id}, 'audit-entry', {old}, {at} FROM {rows} \
     WHERE n % 10 = 0",
    // What sweeps delete.
    "INSERT INTO sessions (user_id, id, created_at, expires_at) VALUES ({user}, {old}, 0, 1)",
    "INSERT INTO refresh_tokens (user_id, hash, session_id, created_at, expires_at) VALUES ({user}, {bytes}, {old}, 0, 1)",
    "INSERT INTO reward_requests (id, event_id, event_revision, user_id, plugin_digest, status, period, slot, reasons, \
        progress, received_at, decided_at, receipt_digest, receipt_path, receipt_key_id, receipt_signature) \
     VALUES ({old}, {event}, 1, {user}, {digest}, 'REJECTED', 'once', 1, '[]', '[]', 0, 0, {bytes}, {bytes}, '', {bytes})",
    "INSERT INTO idempotency_keys (user_id, key, fingerprint, request_id, response, created_at, expires_at) \
     VALUES ({user}, 'old', {bytes}, {old}, '{}', 0, 1)",
    "INSERT INTO outbox (id, kind, payload, created_at, sent_at) VALUES ({old}, 'event.created', '{}', 1, 1)",
    "INSERT INTO audit_log (id, at, actor_kind, action, outcome, changes, occurrences) \
     VALUES ({old}, 0, 'SYSTEM', 'fill', 'DONE', '{}', 1)",
];
