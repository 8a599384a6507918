-- Who is told over HTTP, and every telling.
CREATE TABLE webhook_endpoints (
    id              BLOB NOT NULL PRIMARY KEY,
    url             TEXT NOT NULL,
    description     TEXT,
    -- outbox.kind of what it is told; an empty list: everything
    types           TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('ACTIVE', 'PAUSED')),
    -- why the server itself paused it
    paused_because  TEXT,
    -- what its messages are signed with; the one before signs as well for a while
    secret          BLOB NOT NULL,
    previous_secret BLOB,
    previous_until  INTEGER,
    revision        INTEGER NOT NULL,
    created_by      BLOB NOT NULL REFERENCES users (id),
    -- it is told what happened from here on
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    deleted_at      INTEGER,
    -- the right to deliver to it: the process that raised the fence last has it until lease_until; 0: no process
    fence           INTEGER NOT NULL,
    lease_until     INTEGER NOT NULL
) STRICT;

CREATE TABLE webhook_deliveries (
    endpoint_id     BLOB NOT NULL REFERENCES webhook_endpoints (id),
    message_id      BLOB NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
    -- the user, or else the event or plugin version: one message of a line is on its way at a time, in the order of told_at
    line            BLOB NOT NULL,
    -- outbox.created_at
    told_at         INTEGER NOT NULL,
    -- WAITING: for those before it in its line
    status          TEXT NOT NULL CHECK (status IN ('WAITING', 'PENDING', 'DELIVERED', 'PARKED')),
    attempts        INTEGER NOT NULL,
    -- of a PENDING one: when it may be tried
    next_at         INTEGER NOT NULL,
    -- the fence under which an attempt runs; NULL: none does
    fence           INTEGER,
    finished_at     INTEGER,
    -- the latest attempt
    last_at         INTEGER,
    last_status     INTEGER,
    last_error      TEXT,
    last_answer     TEXT,
    last_millis     INTEGER,
    PRIMARY KEY (endpoint_id, message_id)
) STRICT;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_at) WHERE status = 'PENDING';
CREATE INDEX webhook_deliveries_line ON webhook_deliveries (endpoint_id, line, status, told_at, message_id)
    WHERE status IN ('WAITING', 'PENDING');
CREATE INDEX webhook_deliveries_parked ON webhook_deliveries (endpoint_id, message_id) WHERE status = 'PARKED';
CREATE INDEX webhook_deliveries_message ON webhook_deliveries (message_id);
-- What was sent is forgotten in this order. Claims do not touch it.
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;
