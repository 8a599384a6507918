-- What is given, and to whom it is offered.
CREATE TABLE rewards (
    id              BLOB NOT NULL PRIMARY KEY,
    type            TEXT NOT NULL,
    item_id         TEXT,
    -- minor units for money, points for points
    value           INTEGER,
    duration        TEXT,
    description     TEXT,
    revision        INTEGER NOT NULL,
    created_by      BLOB NOT NULL REFERENCES users (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    deleted_at      INTEGER
) STRICT;

-- Only rewards that are limited have a row here, so that nothing else is ever counted.
CREATE TABLE reward_stock (
    reward_id       BLOB NOT NULL PRIMARY KEY REFERENCES rewards (id),
    total           INTEGER NOT NULL CHECK (total >= 0),
    remaining       INTEGER NOT NULL CONSTRAINT reward_stock_remaining CHECK (remaining >= 0 AND remaining <= total),
    -- the reward's revision since which it is counted: a limit that was taken away and came back counts anew
    since           INTEGER NOT NULL,
    -- how often something was given back to it, so that whoever looks again sees that there was more in between
    returns         INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE events (
    id              BLOB NOT NULL PRIMARY KEY,
    title           TEXT NOT NULL,
    description     TEXT NOT NULL,
    -- the event runs in the half-open period [start_at, end_at)
    start_at        INTEGER NOT NULL,
    end_at          INTEGER NOT NULL CHECK (end_at > start_at),
    is_active       INTEGER NOT NULL,
    tags            TEXT NOT NULL,
    -- in the order they are shown; event_rewards holds the same for look-ups from the other side
    reward_ids      TEXT NOT NULL,
    -- IANA name: where its days begin
    time_zone       TEXT NOT NULL,
    plugin_digest   TEXT NOT NULL REFERENCES plugin_versions (digest),
    plugin_name     TEXT NOT NULL,
    plugin_version  TEXT NOT NULL,
    params          TEXT NOT NULL,
    -- what bind answered for these params: the queries, and the bytes that evaluate wants back
    queries         TEXT NOT NULL,
    state           BLOB NOT NULL,
    recurrence      TEXT NOT NULL CHECK (recurrence IN ('ONCE', 'DAILY', 'WEEKLY', 'MONTHLY')),
    -- grants a user may have in one period
    recurrence_count INTEGER NOT NULL CHECK (recurrence_count > 0),
    -- the most of one reward that one claim may be awarded
    max_quantity    INTEGER NOT NULL CHECK (max_quantity > 0),
    -- what may be granted to all users together in one period: granted claims, and the sum of their rewards' values
    budget_period   TEXT CHECK (budget_period IN ('ONCE', 'DAILY', 'WEEKLY', 'MONTHLY')),
    budget_grants   INTEGER CHECK (budget_grants > 0),
    budget_amount   INTEGER CHECK (budget_amount > 0),
    -- 32 bytes; its SHA-256 is published when the event is created, itself when the event is over
    seed_secret     BLOB NOT NULL,
    revision        INTEGER NOT NULL,
    created_by      BLOB NOT NULL REFERENCES users (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    deleted_at      INTEGER,
    CHECK ((budget_period IS NULL) = (budget_grants IS NULL AND budget_amount IS NULL))
) STRICT;
CREATE INDEX events_period ON events (end_at, start_at);
CREATE INDEX events_plugin ON events (plugin_digest);

CREATE TABLE event_rewards (
    event_id        BLOB NOT NULL REFERENCES events (id),
    reward_id       BLOB NOT NULL REFERENCES rewards (id),
    position        INTEGER NOT NULL,
    PRIMARY KEY (event_id, reward_id)
) STRICT;
CREATE INDEX event_rewards_reward ON event_rewards (reward_id);

-- What an event said at each revision, for ever: requests refer to the revision they were decided under.
CREATE TABLE event_revisions (
    event_id        BLOB NOT NULL REFERENCES events (id),
    revision        INTEGER NOT NULL,
    snapshot        TEXT NOT NULL,
    -- what the snapshot's condition runs, so that it is never deleted; NULL when the event was
    plugin_digest   TEXT REFERENCES plugin_versions (digest),
    changed_by      BLOB NOT NULL REFERENCES users (id),
    changed_at      INTEGER NOT NULL,
    PRIMARY KEY (event_id, revision)
) STRICT;
CREATE INDEX event_revisions_plugin ON event_revisions (plugin_digest);
