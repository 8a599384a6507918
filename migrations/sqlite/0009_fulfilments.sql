-- Whether a grant has reached its user. An endpoint's response or an acknowledgement writes the row. A grant without a
-- row is PENDING, so a claim writes nothing here. `grants.fulfilment` repeats the state.
CREATE TABLE fulfilments (
    user_id         BLOB NOT NULL,
    grant_id        BLOB NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('DELIVERED', 'FAILED')),
    changed_at      INTEGER NOT NULL,
    -- the principal that acknowledged; NULL: an endpoint's response set the state, and an acknowledgement overrides it
    acknowledged_by BLOB,
    -- the webhook endpoint; no foreign key, because endpoints keep their rows
    endpoint_id     BLOB,
    -- of an acknowledgement, for the user to see
    reason          TEXT,
    reference       TEXT,
    -- of an endpoint: why its last attempt failed
    error           TEXT,
    PRIMARY KEY (user_id, grant_id),
    FOREIGN KEY (user_id, grant_id) REFERENCES grants (user_id, id),
    CHECK (acknowledged_by IS NULL OR endpoint_id IS NULL)
) STRICT;
