-- Make-goods: an event's condition of now is asked again about the claims of a period, and what was wrong is proposed as one
-- batch. A request writes the row, a second person approves it, and a background task proposes and applies it. Kept, because
-- receipts name it.
CREATE TABLE make_goods (
    id              UUID NOT NULL PRIMARY KEY,
    event_id        UUID NOT NULL REFERENCES events (id),
    state           TEXT NOT NULL CHECK (state IN ('PROPOSING', 'PROPOSED', 'APPROVED', 'APPLYING', 'APPLIED', 'FAILED', 'WITHDRAWN')),
    title           TEXT NOT NULL,
    -- the claims that arrived in this period, half-open
    from_at         BIGINT NOT NULL,
    to_at           BIGINT NOT NULL,
    -- what was recorded until then counts
    known_by        BIGINT NOT NULL,
    -- the condition that decides: plugin, version, digest, params
    condition       JSONB NOT NULL,
    -- whether wrong grants are proposed for reversal
    reversals       BOOLEAN NOT NULL,
    -- the claims that the proposal looks at next: a status, and the last id; NULL: from the first
    looked_at       TEXT NOT NULL CHECK (looked_at IN ('GRANTED', 'REJECTED', 'FAILED')),
    last_claim      UUID,
    counts          JSONB NOT NULL,
    -- the SHA-256 of what is approved; NULL: not proposed yet
    hash            TEXT,
    -- the people who proposed or changed it, as a list of their ids
    authors         JSONB NOT NULL,
    -- the principal
    created_by      UUID NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    approved_by     UUID,
    approved_at     BIGINT,
    -- why it FAILED or was WITHDRAWN
    reason          TEXT,
    fence           BIGINT NOT NULL,
    lease_until     BIGINT NOT NULL,
    CHECK (state NOT IN ('APPROVED', 'APPLYING', 'APPLIED') OR (hash IS NOT NULL AND approved_by IS NOT NULL AND approved_at IS NOT NULL))
);
CREATE INDEX make_goods_event ON make_goods (event_id, id);
CREATE INDEX make_goods_state ON make_goods (state, id);
-- One at a time for an event: two would propose the same.
CREATE UNIQUE INDEX make_goods_open ON make_goods (event_id) WHERE state IN ('PROPOSING', 'PROPOSED', 'APPROVED', 'APPLYING');

-- What a make-good proposes about one claim, and whether it was applied. Deleted when the user is erased.
CREATE TABLE make_good_entries (
    user_id         UUID NOT NULL,
    -- also of the reward request or the reversal that it becomes, so that it becomes one
    id              UUID NOT NULL,
    make_good_id    UUID NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('GRANT', 'REVERSE')),
    state           TEXT NOT NULL CHECK (state IN ('PENDING', 'EXCLUDED', 'APPLIED', 'SKIPPED')),
    -- the claim, when it arrived, its period and the slot in it
    request_id      UUID NOT NULL,
    received_at     BIGINT NOT NULL,
    period          TEXT NOT NULL,
    slot            BIGINT NOT NULL,
    -- what is granted; of a reversal: nothing
    awards          JSONB NOT NULL,
    -- what was said to the user, and what the condition says now
    reasons_before  JSONB NOT NULL,
    reasons_now     JSONB NOT NULL,
    -- why it was SKIPPED: a code
    skipped         TEXT,
    updated_at      BIGINT NOT NULL,
    PRIMARY KEY (user_id, id),
    -- a claim is in a make-good once
    UNIQUE (user_id, make_good_id, request_id)
);
CREATE INDEX make_good_entries_list ON make_good_entries (make_good_id, id);
CREATE INDEX make_good_entries_state ON make_good_entries (make_good_id, state, id);
-- Whether an earlier make-good granted a claim.
CREATE INDEX make_good_entries_request ON make_good_entries (user_id, request_id);

-- The make-good that granted a request; NULL: the user's own claim did.
ALTER TABLE reward_requests ADD COLUMN make_good_id UUID;
