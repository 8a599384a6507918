-- What can be granted. Operators write the row. A deleted reward keeps its row.
CREATE TABLE rewards (
    id              BLOB NOT NULL PRIMARY KEY,
    type            TEXT NOT NULL,
    item_id         TEXT,
    -- minor units for money, points for points
    value           INTEGER,
    duration        TEXT,
    description     TEXT,
    revision        INTEGER NOT NULL,
    -- the principal
    created_by      BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    deleted_at      INTEGER
) STRICT;

-- Each revision of each reward, never deleted: receipts refer to the revision that was given. Changing a reward writes the
-- row in the same transaction.
CREATE TABLE reward_revisions (
    reward_id       BLOB NOT NULL REFERENCES rewards (id),
    revision        INTEGER NOT NULL,
    -- JSON null: the reward was deleted
    snapshot        TEXT NOT NULL,
    -- the principal
    changed_by      BLOB NOT NULL,
    changed_at      INTEGER NOT NULL,
    PRIMARY KEY (reward_id, revision)
) STRICT;

-- The stock of a limited reward; an unlimited reward has no row, so it is never counted. Operators set it, claims take
-- from it, reversals return it. The CHECK on `remaining` proves "never below zero and never above the total".
CREATE TABLE reward_stock (
    reward_id       BLOB NOT NULL PRIMARY KEY REFERENCES rewards (id),
    total           INTEGER NOT NULL CHECK (total >= 0),
    remaining       INTEGER NOT NULL CONSTRAINT reward_stock_remaining CHECK (remaining >= 0 AND remaining <= total),
    -- the reward's revision at which counting began: removing a limit and setting it again starts a new count
    since           INTEGER NOT NULL,
    -- the number of returns, so that a reader can detect that there was more stock in between
    returns         INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Which rewards an event offers, for look-ups by reward. Changing an event writes the rows.
CREATE TABLE event_rewards (
    event_id        BLOB NOT NULL REFERENCES events (id),
    reward_id       BLOB NOT NULL REFERENCES rewards (id),
    position        INTEGER NOT NULL,
    PRIMARY KEY (event_id, reward_id)
) STRICT;
CREATE INDEX event_rewards_reward ON event_rewards (reward_id);
