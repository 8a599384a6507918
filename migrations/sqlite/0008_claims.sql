-- Decided claims with their receipts. A claim's commit writes the row; a reversal sets REVERSED. The review of a HELD
-- claim sets GRANTED or REJECTED and replaces the receipt. No foreign keys to
-- events, plugins or rewards: the commit holds the event's row until its end, the event's revision refers to the plugin,
-- and each foreign key would have all claims lock the one row that they share.
-- An id begins with received_at, so the order of ids is the order of arrival, and a period of time is a range of ids.
CREATE TABLE reward_requests (
    user_id         BLOB NOT NULL REFERENCES users (id),
    id              BLOB NOT NULL,
    event_id        BLOB NOT NULL,
    event_revision  INTEGER NOT NULL,
    plugin_digest   TEXT NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('GRANTED', 'HELD', 'REJECTED', 'FAILED', 'REVERSED')),
    -- the recurrence period in the event's zone ("once", "2026-03-01", "2026-W09", "2026-03") and the slot in it
    period          TEXT NOT NULL,
    slot            INTEGER NOT NULL CHECK (slot > 0),
    -- the group of the event at the decision, and the number of the user's grant in it; NULL: none
    group_name      TEXT,
    group_slot      INTEGER CHECK (group_slot > 0),
    -- the budget period that a grant was taken from, and the amount, so that a reversal returns the same; NULL: the
    -- event had no budget
    budget_period   TEXT,
    budget_amount   INTEGER,
    reasons         TEXT NOT NULL,
    progress        TEXT NOT NULL,
    -- while the claim is HELD: when it is rejected without a review
    retry_at        INTEGER,
    received_at     INTEGER NOT NULL,
    -- while the claim is HELD: since when
    decided_at      INTEGER NOT NULL,
    -- what the review of a held claim says; NULL: it was not held, or not reviewed yet
    review          TEXT,
    fuel            INTEGER,
    -- canonical JSON (RFC 8785), and the random bytes before it in the digest; NULL: erased, the rest still verifies
    receipt         TEXT,
    receipt_salt    BLOB,
    receipt_digest  BLOB NOT NULL,
    -- the leaf's index and the size of the Merkle tree (32-bit, big-endian), the hashes up to the signed root
    receipt_path    BLOB NOT NULL,
    receipt_key_id  TEXT NOT NULL,
    receipt_signature BLOB NOT NULL,
    -- of a rejection: a digest of everything that it says, so that the same answer again is this row; NULL: none, or the
    -- claim was pending
    refusal         TEXT,
    PRIMARY KEY (user_id, id),
    CHECK ((receipt IS NULL) = (receipt_salt IS NULL)),
    CHECK ((budget_period IS NULL) = (budget_amount IS NULL)),
    CHECK ((group_name IS NULL) = (group_slot IS NULL))
) STRICT;
-- The proof of "never twice": one grant per user, event, period and slot. A held claim keeps its slot.
CREATE UNIQUE INDEX reward_requests_slots ON reward_requests (user_id, event_id, period, slot)
    WHERE status = 'GRANTED' OR status = 'HELD';
-- The proof of an event group's limit: one grant per user, group and number. A held claim keeps its number.
CREATE UNIQUE INDEX reward_requests_groups ON reward_requests (user_id, group_name, group_slot)
    WHERE group_name IS NOT NULL AND (status = 'GRANTED' OR status = 'HELD');
-- A user has one held claim per event.
CREATE UNIQUE INDEX reward_requests_held ON reward_requests (user_id, event_id) WHERE status = 'HELD';
-- Held claims in the order in which they expire. With the status, so that SQLite prefers it to the list of a status.
CREATE INDEX reward_requests_expiry ON reward_requests (status, retry_at, id) WHERE status = 'HELD';
-- Reviewed claims of a user on an event: a denial stands for some time.
CREATE INDEX reward_requests_reviewed ON reward_requests (user_id, event_id, decided_at) WHERE review IS NOT NULL;
-- A user is told the same about an event by one row, however often they ask.
CREATE UNIQUE INDEX reward_requests_refusal ON reward_requests (user_id, event_id, refusal) WHERE refusal IS NOT NULL;
-- The newest of them, which a claim reads with its facts.
CREATE INDEX reward_requests_refused ON reward_requests (user_id, event_id, id) WHERE refusal IS NOT NULL;
-- By id alone, and lists of all requests.
CREATE INDEX reward_requests_id ON reward_requests (id);
-- Lists of an event or of a status. A list of all statuses merges one range of each.
CREATE INDEX reward_requests_event ON reward_requests (event_id, status, id);
CREATE INDEX reward_requests_status ON reward_requests (status, id);
-- With the fuel, so that the cost of a plugin version is read from the index alone.
CREATE INDEX reward_requests_plugin ON reward_requests (plugin_digest, id, fuel) WHERE fuel IS NOT NULL;

-- What receipts under one revision of an event have in common, stored once. Receipts name it by its SHA-256. A process
-- writes the row before the first claim that names it; rows are never changed or deleted.
CREATE TABLE receipt_terms (
    digest          TEXT NOT NULL PRIMARY KEY,
    -- canonical JSON (RFC 8785), the very bytes of the digest
    terms           TEXT NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT;

-- Granted rewards. The statement that writes the request also writes them, so a foreign key is unnecessary.
CREATE TABLE grants (
    user_id         BLOB NOT NULL,
    id              BLOB NOT NULL,
    request_id      BLOB NOT NULL,
    -- no foreign key: rewards are never deleted
    reward_id       BLOB NOT NULL,
    -- of the request
    event_id        BLOB NOT NULL,
    quantity        INTEGER NOT NULL CHECK (quantity > 0),
    -- the reward as it was then
    reward          TEXT NOT NULL,
    -- reward_stock.since of the stock that it was taken from; NULL: the reward was not limited
    stock_since     INTEGER,
    granted_at      INTEGER NOT NULL,
    -- whether the request was reversed, and the state of the fulfilment, so that an index can find grants by them
    reversed        INTEGER NOT NULL DEFAULT FALSE,
    fulfilment      TEXT NOT NULL DEFAULT 'PENDING' CHECK (fulfilment IN ('PENDING', 'DELIVERED', 'FAILED')),
    PRIMARY KEY (user_id, id),
    -- a request grants a reward once
    UNIQUE (user_id, request_id, reward_id)
) STRICT;
-- By id alone, and lists of all grants.
CREATE INDEX grants_id ON grants (id);
-- Lists of an event, of a state, or of both. A list of several states merges one range of each.
CREATE INDEX grants_event ON grants (event_id, fulfilment, reversed, id);
CREATE INDEX grants_state ON grants (fulfilment, reversed, id);

-- Grants that were taken back. A reversal writes the row in the transaction that sets the request to REVERSED. The
-- primary key proves that a request is reversed once.
CREATE TABLE reversals (
    user_id         BLOB NOT NULL,
    request_id      BLOB NOT NULL,
    id              BLOB NOT NULL,
    reason          TEXT NOT NULL,
    -- the principal
    reversed_by     BLOB NOT NULL,
    reversed_at     INTEGER NOT NULL,
    -- canonical JSON (RFC 8785), and the random bytes before it in the digest; NULL: erased, the rest still verifies
    receipt         TEXT,
    receipt_salt    BLOB,
    receipt_digest  BLOB NOT NULL,
    -- the leaf's index and the size of the Merkle tree (32-bit, big-endian), the hashes up to the signed root
    receipt_path    BLOB NOT NULL,
    receipt_key_id  TEXT NOT NULL,
    receipt_signature BLOB NOT NULL,
    PRIMARY KEY (user_id, request_id),
    UNIQUE (user_id, id),
    CHECK ((receipt IS NULL) = (receipt_salt IS NULL)),
    FOREIGN KEY (user_id, request_id) REFERENCES reward_requests (user_id, id)
) STRICT;

-- The stored response to a claim under an Idempotency-Key, written in the claim's own transaction. The primary key
-- proves that a key has one response. Expired rows are deleted.
CREATE TABLE idempotency_keys (
    user_id         BLOB NOT NULL REFERENCES users (id),
    key             TEXT NOT NULL,
    -- SHA-256 of the request
    fingerprint     BLOB NOT NULL,
    request_id      BLOB NOT NULL,
    response        TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    PRIMARY KEY (user_id, key),
    FOREIGN KEY (user_id, request_id) REFERENCES reward_requests (user_id, id)
) STRICT;
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

-- Claims that were answered with 202 and wait for a decision. Intake writes the row; the transaction that writes the
-- reward request of the same id deletes it. No foreign keys: users are never deleted, events keep their rows.
CREATE TABLE pending_claims (
    user_id         BLOB NOT NULL,
    id              BLOB NOT NULL,
    event_id        BLOB NOT NULL,
    received_at     INTEGER NOT NULL,
    -- the event on arrival, shown until the claim is decided
    event_revision  INTEGER NOT NULL,
    plugin_digest   TEXT NOT NULL,
    period          TEXT NOT NULL,
    -- as in idempotency_keys; NULL: none
    idempotency_key TEXT,
    fingerprint     BLOB,
    -- of the HTTP request that claims, as in the log
    http_request_id TEXT,
    -- the service key that claims for the user; NULL: none
    claimed_by      TEXT,
    -- failed attempts to decide the claim, and when the next one is due; 0: none failed, and the claim has its place in
    -- the queue
    attempts        INTEGER NOT NULL DEFAULT 0,
    retry_at        INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, id),
    -- a user has one pending claim per event, so claims of one batch never depend on each other
    UNIQUE (user_id, event_id),
    CHECK ((idempotency_key IS NULL) = (fingerprint IS NULL))
) STRICT;
-- A key has one pending claim.
CREATE UNIQUE INDEX pending_claims_key ON pending_claims (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
-- By id alone, and lists of all pending claims.
CREATE INDEX pending_claims_id ON pending_claims (id);
-- An event's queue, in the order of arrival.
CREATE INDEX pending_claims_queue ON pending_claims (event_id, id) WHERE retry_at = 0;
-- The claims that could not be decided yet: those of an event, for lists and in the order in which they are due; and the
-- events that have some.
CREATE INDEX pending_claims_put_aside ON pending_claims (event_id, id) WHERE retry_at > 0;
CREATE INDEX pending_claims_retry ON pending_claims (event_id, retry_at, id) WHERE retry_at > 0;
CREATE INDEX pending_claims_due ON pending_claims (retry_at, event_id) WHERE retry_at > 0;

-- The lease on an event's queue. The process that raised the fence last decides the event's pending claims until
-- lease_until.
CREATE TABLE claim_queues (
    event_id        BLOB NOT NULL PRIMARY KEY,
    fence           INTEGER NOT NULL,
    lease_until     INTEGER NOT NULL
) STRICT;
