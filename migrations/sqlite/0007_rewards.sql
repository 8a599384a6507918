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

-- The stock of a limited reward; an unlimited reward has no row, so it is never counted. Operators set it, claims take
-- from it, reversals give back. The CHECK on `remaining` proves "never below zero and never more than there were".
CREATE TABLE reward_stock (
    reward_id       BLOB NOT NULL PRIMARY KEY REFERENCES rewards (id),
    total           INTEGER NOT NULL CHECK (total >= 0),
    remaining       INTEGER NOT NULL CONSTRAINT reward_stock_remaining CHECK (remaining >= 0 AND remaining <= total),
    -- the reward's revision at which counting began: a limit that was removed and set again counts anew
    since           INTEGER NOT NULL,
    -- how often something was given back, so that a reader can tell that there was more in between
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
