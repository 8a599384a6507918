-- What can be granted. Operators write the row. A deleted reward keeps its row.
CREATE TABLE rewards (
    id              UUID NOT NULL PRIMARY KEY,
    -- for files and scripts; the id as text, unless an operator chose another
    name            TEXT NOT NULL,
    type            TEXT NOT NULL,
    item_id         TEXT,
    -- minor units for money, points for points
    value           BIGINT,
    duration        TEXT,
    description     TEXT,
    -- whether it hands out codes of reward_codes; never changed
    codes           BOOLEAN NOT NULL DEFAULT FALSE,
    -- whether the codes of a reversed grant can be given again
    codes_return    BOOLEAN NOT NULL DEFAULT FALSE,
    revision        BIGINT NOT NULL,
    -- the revision that `meed apply` wrote last; NULL: it never wrote the row
    applied_revision BIGINT,
    -- the principal
    created_by      UUID NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    deleted_at      BIGINT
);
-- A name belongs to one reward that is not deleted.
CREATE UNIQUE INDEX rewards_name ON rewards (name) WHERE deleted_at IS NULL;

-- Each revision of each reward, never deleted: receipts refer to the revision that was given. Changing a reward writes the
-- row in the same transaction.
CREATE TABLE reward_revisions (
    reward_id       UUID NOT NULL REFERENCES rewards (id),
    revision        BIGINT NOT NULL,
    -- JSON null: the reward was deleted
    snapshot        JSONB NOT NULL,
    -- the principal
    changed_by      UUID NOT NULL,
    changed_at      BIGINT NOT NULL,
    PRIMARY KEY (reward_id, revision)
);

-- The stock of a limited reward; an unlimited reward has no row, so it is never counted. Operators set it, claims take
-- from it, reversals return it. The CHECK on `remaining` proves "never below zero and never above the total".
CREATE TABLE reward_stock (
    reward_id       UUID NOT NULL PRIMARY KEY REFERENCES rewards (id),
    total           BIGINT NOT NULL CHECK (total >= 0),
    remaining       BIGINT NOT NULL CONSTRAINT reward_stock_remaining CHECK (remaining >= 0 AND remaining <= total),
    -- the reward's revision at which counting began: removing a limit and setting it again starts a new count
    since           BIGINT NOT NULL,
    -- the number of returns, so that a reader can detect that there was more stock in between
    returns         BIGINT NOT NULL DEFAULT 0,
    -- of a reward with codes: the position of the code that is given next. The codes from it on, `remaining` of them, are
    -- left; total counts all imported codes. NULL: the reward has no codes
    next_code       BIGINT,
    -- fewer codes than this are told once, until more are imported; NULL: never
    low_water       BIGINT CHECK (low_water > 0),
    -- the total at which it was told last
    low_told        BIGINT
) WITH (fillfactor = 50);

-- Rewards whose codes run low are counted for the metrics. Claims change no column of this index.
CREATE INDEX reward_stock_low_water ON reward_stock (reward_id) WHERE low_water IS NOT NULL;

-- The key of a reward's codes. Creating a reward with codes writes the row; a rotation of the sealing keys seals it again.
CREATE TABLE reward_code_keys (
    reward_id       UUID NOT NULL PRIMARY KEY REFERENCES rewards (id),
    -- 32 bytes, sealed
    key             BYTEA NOT NULL
);

-- Imported codes, in the order in which they are given. The positions of a reward have gaps only below
-- reward_stock.next_code. A code that returns gets the last position.
CREATE TABLE reward_codes (
    reward_id       UUID NOT NULL REFERENCES rewards (id),
    position        BIGINT NOT NULL,
    -- HMAC-SHA256 of the code under the reward's key
    digest          BYTEA NOT NULL,
    -- encrypted with the reward's key
    code            BYTEA NOT NULL,
    PRIMARY KEY (reward_id, position),
    -- a code is imported once
    UNIQUE (reward_id, digest)
);

-- Codes that were given, and to which grant. A claim's commit writes the rows; a reversal deletes them if the codes return.
-- The unique key proves that a code is given once, the foreign key that it exists.
CREATE TABLE granted_codes (
    -- no foreign key: grants belong to users
    grant_id        UUID NOT NULL,
    -- from 1 to the quantity of the grant
    n               BIGINT NOT NULL CHECK (n > 0),
    reward_id       UUID NOT NULL,
    position        BIGINT NOT NULL,
    PRIMARY KEY (grant_id, n),
    UNIQUE (reward_id, position),
    FOREIGN KEY (reward_id, position) REFERENCES reward_codes (reward_id, position)
);

-- Which rewards an event offers, for look-ups by reward. Changing an event writes the rows.
CREATE TABLE event_rewards (
    event_id        UUID NOT NULL REFERENCES events (id),
    reward_id       UUID NOT NULL REFERENCES rewards (id),
    position        BIGINT NOT NULL,
    PRIMARY KEY (event_id, reward_id)
);
CREATE INDEX event_rewards_reward ON event_rewards (reward_id);
