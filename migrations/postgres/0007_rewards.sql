-- What can be granted. Operators write the row. A deleted reward keeps its row.
CREATE TABLE rewards (
    id              UUID NOT NULL PRIMARY KEY,
    type            TEXT NOT NULL,
    item_id         TEXT,
    -- minor units for money, points for points
    value           BIGINT,
    duration        TEXT,
    description     TEXT,
    revision        BIGINT NOT NULL,
    -- the principal
    created_by      UUID NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    deleted_at      BIGINT
);

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
    returns         BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Which rewards an event offers, for look-ups by reward. Changing an event writes the rows.
CREATE TABLE event_rewards (
    event_id        UUID NOT NULL REFERENCES events (id),
    reward_id       UUID NOT NULL REFERENCES rewards (id),
    position        BIGINT NOT NULL,
    PRIMARY KEY (event_id, reward_id)
);
CREATE INDEX event_rewards_reward ON event_rewards (reward_id);
