-- Receivers of messages over HTTP. Operators write the row; the relay may pause it. A deleted endpoint keeps its row.
CREATE TABLE webhook_endpoints (
    id              UUID NOT NULL PRIMARY KEY,
    -- for files and scripts; the id as text, unless an operator chose another
    name            TEXT NOT NULL,
    url             TEXT NOT NULL,
    description     TEXT,
    -- the outbox.kind values it receives; an empty list: all
    types           JSONB NOT NULL,
    -- whether its 2xx to reward.granted means that the grants have reached their user
    acknowledges    BOOLEAN NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('ACTIVE', 'PAUSED')),
    -- why the server paused it
    pause_reason  TEXT,
    -- signs its messages, sealed; the previous secret signs as well until previous_until
    secret          BYTEA NOT NULL,
    previous_secret BYTEA,
    previous_until  BIGINT,
    revision        BIGINT NOT NULL,
    -- the revision that `meed apply` wrote last; NULL: it never wrote the row
    applied_revision BIGINT,
    -- the principal
    created_by      UUID NOT NULL,
    -- messages from here on are delivered
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    deleted_at      BIGINT,
    -- the lease to deliver to it: the process that raised the fence last has it until lease_until; 0: no process
    fence           BIGINT NOT NULL,
    lease_until     BIGINT NOT NULL
);
-- A name belongs to one endpoint that is not deleted.
CREATE UNIQUE INDEX webhook_endpoints_name ON webhook_endpoints (name) WHERE deleted_at IS NULL;

-- One message for one endpoint. Fan-out writes the row, the relay changes it. The primary key proves that an endpoint
-- gets a message once.
CREATE TABLE webhook_deliveries (
    endpoint_id     UUID NOT NULL REFERENCES webhook_endpoints (id),
    message_id      UUID NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
    -- the user, or else the event or plugin version: one of its messages is sent at a time, by created_at
    ordering_key    UUID NOT NULL,
    -- outbox.created_at
    created_at         BIGINT NOT NULL,
    -- WAITING: for earlier messages of the same ordering key
    status          TEXT NOT NULL CHECK (status IN ('WAITING', 'PENDING', 'DELIVERED', 'PARKED')),
    attempts        BIGINT NOT NULL,
    -- when a PENDING delivery is due
    next_at         BIGINT NOT NULL,
    -- the fence under which an attempt runs; NULL: none does
    fence           BIGINT,
    finished_at     BIGINT,
    -- the latest attempt
    last_at         BIGINT,
    last_status     BIGINT,
    last_error      TEXT,
    last_answer     TEXT,
    last_millis     BIGINT,
    PRIMARY KEY (endpoint_id, message_id)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, status, next_at) WHERE status = 'PENDING';
CREATE INDEX webhook_deliveries_ordering_key ON webhook_deliveries (ordering_key, endpoint_id, status, created_at, message_id)
    WHERE status IN ('WAITING', 'PENDING');
-- Lists of one status, and the number of deliveries in it.
CREATE INDEX webhook_deliveries_status ON webhook_deliveries (endpoint_id, status, message_id);
CREATE INDEX webhook_deliveries_message ON webhook_deliveries (message_id);
