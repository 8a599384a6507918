-- whether claims are always answered with 202 and settled in the order of their arrival
ALTER TABLE events ADD COLUMN respond_async BOOLEAN NOT NULL DEFAULT FALSE;

-- Claims that were answered with 202 and wait to be settled. The row goes in the very transaction that writes the reward
-- request of the same id. No references: users are never deleted, events only marked, and claims would pay for them.
CREATE TABLE received_claims (
    id              UUID NOT NULL PRIMARY KEY,
    event_id        UUID NOT NULL,
    user_id         UUID NOT NULL,
    received_at     BIGINT NOT NULL,
    -- what the event said on arrival, to be shown until it is decided
    event_revision  BIGINT NOT NULL,
    plugin_digest   TEXT NOT NULL,
    period          TEXT NOT NULL,
    -- as in idempotency_keys; NULL: none
    idempotency_key TEXT,
    fingerprint     BYTEA,
    -- of the HTTP request that claims, as the log has it
    http_request_id TEXT,
    UNIQUE (event_id, user_id),
    CHECK ((idempotency_key IS NULL) = (fingerprint IS NULL))
);
-- an event's claims in the order of their arrival
CREATE INDEX received_claims_line ON received_claims (event_id, received_at, id);
CREATE INDEX received_claims_user ON received_claims (user_id, id);
CREATE UNIQUE INDEX received_claims_key ON received_claims (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Who settles an event's claims: until lease_until whoever raised the fence last, and nobody else.
CREATE TABLE claim_lines (
    event_id        UUID NOT NULL PRIMARY KEY,
    fence           BIGINT NOT NULL,
    lease_until     BIGINT NOT NULL
) WITH (fillfactor = 50);
