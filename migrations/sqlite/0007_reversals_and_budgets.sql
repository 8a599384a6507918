-- Grants that were taken back, and what events have used of their budgets.
CREATE TABLE reversals (
    id              BLOB NOT NULL PRIMARY KEY,
    -- the proof of "given back once"
    request_id      BLOB NOT NULL UNIQUE REFERENCES reward_requests (id),
    reason          TEXT NOT NULL,
    reversed_by     BLOB NOT NULL REFERENCES users (id),
    reversed_at     INTEGER NOT NULL,
    -- canonical JSON (RFC 8785), byte for byte what was signed
    receipt         TEXT NOT NULL,
    receipt_key_id  TEXT NOT NULL,
    receipt_signature BLOB NOT NULL
) STRICT;

-- A row appears with the first grant of a period, and only for events that have a budget. The CHECKs are the proof of
-- "never beyond the budget".
CREATE TABLE event_budgets (
    event_id        BLOB NOT NULL REFERENCES events (id),
    -- as reward_requests.budget_period: the period in the event's zone
    period          TEXT NOT NULL,
    -- what was used, less what was given back; the amount only while the budget had one
    grants          INTEGER NOT NULL CHECK (grants >= 0),
    amount          INTEGER NOT NULL CHECK (amount >= 0),
    -- what the event allowed at the latest grant; NULL: no bound
    max_grants      INTEGER,
    max_amount      INTEGER,
    PRIMARY KEY (event_id, period),
    CONSTRAINT event_budgets_grants CHECK (grants <= max_grants),
    CONSTRAINT event_budgets_amount CHECK (amount <= max_amount)
) STRICT;
