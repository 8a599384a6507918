-- Claims, their decisions and receipts, and what was granted.
CREATE TABLE reward_requests (
    id              BLOB NOT NULL PRIMARY KEY,
    -- no reference: whoever writes a request holds the event's row still until the commit
    event_id        BLOB NOT NULL,
    event_revision  INTEGER NOT NULL,
    user_id         BLOB NOT NULL REFERENCES users (id),
    -- the event's revision refers to it: a reference from here would have all claims lock the one row that they share
    plugin_digest   TEXT NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('GRANTED', 'REJECTED', 'FAILED', 'REVERSED')),
    -- the recurrence period in the event's zone ("once", "2026-03-01", "2026-W09", "2026-03") and the place in it
    period          TEXT NOT NULL,
    sequence        INTEGER NOT NULL CHECK (sequence > 0),
    -- the period of the event's budget that a grant was taken from, and how much of its amount, so that a reversal gives
    -- back the same; NULL: the event had no budget
    budget_period   TEXT,
    budget_amount   INTEGER,
    reasons         TEXT NOT NULL,
    progress        TEXT NOT NULL,
    retry_at        INTEGER,
    received_at     INTEGER NOT NULL,
    decided_at      INTEGER NOT NULL,
    fuel            INTEGER,
    -- canonical JSON (RFC 8785), byte for byte what was signed
    receipt         TEXT NOT NULL,
    receipt_key_id  TEXT NOT NULL,
    receipt_signature BLOB NOT NULL,
    CHECK ((budget_period IS NULL) = (budget_amount IS NULL))
) STRICT;
-- The proof of "never twice": one grant per user, event, period and place in the period.
CREATE UNIQUE INDEX reward_requests_granted ON reward_requests (event_id, user_id, period, sequence) WHERE status = 'GRANTED';
CREATE INDEX reward_requests_user ON reward_requests (user_id, id);
CREATE INDEX reward_requests_event ON reward_requests (event_id, id);
-- with the fuel, so that what a version costs is read from here alone
CREATE INDEX reward_requests_plugin ON reward_requests (plugin_digest, id, fuel);

CREATE TABLE grants (
    id              BLOB NOT NULL PRIMARY KEY,
    -- written together with their request, in one statement; no reference, which is checked row by row
    request_id      BLOB NOT NULL,
    -- rewards are never deleted, only marked; no reference, as above
    reward_id       BLOB NOT NULL,
    quantity        INTEGER NOT NULL CHECK (quantity > 0),
    -- what the reward said then
    reward          TEXT NOT NULL,
    -- reward_stock.since of the stock that it was taken from; NULL: it was not limited
    stock_since     INTEGER,
    granted_at      INTEGER NOT NULL,
    UNIQUE (request_id, reward_id)
) STRICT;

-- The first answer to a claim under an Idempotency-Key, written in the claim's own transaction.
CREATE TABLE idempotency_keys (
    user_id         BLOB NOT NULL REFERENCES users (id),
    key             TEXT NOT NULL,
    -- SHA-256 over what was asked
    fingerprint     BLOB NOT NULL,
    request_id      BLOB NOT NULL REFERENCES reward_requests (id),
    response        TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    PRIMARY KEY (user_id, key)
) STRICT;
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

-- What the world outside must be told, written in the transaction that made it true.
CREATE TABLE outbox (
    id              BLOB NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL,
    user_id         BLOB NOT NULL,
    payload         TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    sent_at         INTEGER
) STRICT;
CREATE INDEX outbox_unsent ON outbox (created_at, id) WHERE sent_at IS NULL;
