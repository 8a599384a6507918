-- Whether what was granted has reached its user. A grant without a row is PENDING, so a claim writes nothing here.
CREATE TABLE fulfilments (
    grant_id        UUID NOT NULL PRIMARY KEY REFERENCES grants (id),
    state           TEXT NOT NULL CHECK (state IN ('DELIVERED', 'FAILED')),
    changed_at      BIGINT NOT NULL,
    -- who said so; NULL: an endpoint's answer did, and anybody's word counts for more
    acknowledged_by UUID REFERENCES users (id),
    endpoint_id     UUID REFERENCES webhook_endpoints (id),
    -- of an acknowledgement, for the user to see
    reason          TEXT,
    reference       TEXT,
    -- of an endpoint: why its last try failed
    error           TEXT,
    CHECK (acknowledged_by IS NULL OR endpoint_id IS NULL)
);
CREATE INDEX fulfilments_failed ON fulfilments (grant_id) WHERE state = 'FAILED';

-- whether its 2xx to reward.granted says that the grants have reached their user
ALTER TABLE webhook_endpoints ADD COLUMN acknowledges BOOLEAN NOT NULL DEFAULT TRUE;
