-- What is given, and to whom it is offered.
CREATE TABLE rewards (
    id              UUID NOT NULL PRIMARY KEY,
    type            TEXT NOT NULL,
    item_id         TEXT,
    -- minor units for money, points for points
    value           BIGINT,
    duration        TEXT,
    description     TEXT,
    revision        BIGINT NOT NULL,
    created_by      UUID NOT NULL REFERENCES users (id),
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    deleted_at      BIGINT
);

-- Only rewards that are limited have a row here, so that nothing else is ever counted.
CREATE TABLE reward_stock (
    reward_id       UUID NOT NULL PRIMARY KEY REFERENCES rewards (id),
    total           BIGINT NOT NULL CHECK (total >= 0),
    remaining       BIGINT NOT NULL CONSTRAINT reward_stock_remaining CHECK (remaining >= 0 AND remaining <= total),
    -- the reward's revision since which it is counted: a limit that was taken away and came back counts anew
    since           BIGINT NOT NULL,
    -- how often something was given back to it, so that whoever looks again sees that there was more in between
    returns         BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE events (
    id              UUID NOT NULL PRIMARY KEY,
    title           TEXT NOT NULL,
    description     TEXT NOT NULL,
    -- the event runs in the half-open period [start_at, end_at)
    start_at        BIGINT NOT NULL,
    end_at          BIGINT NOT NULL CHECK (end_at > start_at),
    is_active       BOOLEAN NOT NULL,
    tags            JSONB NOT NULL,
    -- in the order they are shown; event_rewards holds the same for look-ups from the other side
    reward_ids      JSONB NOT NULL,
    -- IANA name: where its days begin
    time_zone       TEXT NOT NULL,
    plugin_digest   TEXT NOT NULL REFERENCES plugin_versions (digest),
    plugin_name     TEXT NOT NULL,
    plugin_version  TEXT NOT NULL,
    params          JSONB NOT NULL,
    -- what bind answered for these params: the queries, and the bytes that evaluate wants back
    queries         JSONB NOT NULL,
    state           BYTEA NOT NULL,
    recurrence      TEXT NOT NULL CHECK (recurrence IN ('ONCE', 'DAILY', 'WEEKLY', 'MONTHLY')),
    -- grants a user may have in one period
    recurrence_count BIGINT NOT NULL CHECK (recurrence_count > 0),
    -- the most of one reward that one claim may be awarded
    max_quantity    BIGINT NOT NULL CHECK (max_quantity > 0),
    -- what may be granted to all users together in one period: granted claims, and the sum of their rewards' values
    budget_period   TEXT CHECK (budget_period IN ('ONCE', 'DAILY', 'WEEKLY', 'MONTHLY')),
    budget_grants   BIGINT CHECK (budget_grants > 0),
    budget_amount   BIGINT CHECK (budget_amount > 0),
    -- 32 bytes; its SHA-256 is published when the event is created, itself when the event is over
    seed_secret     BYTEA NOT NULL,
    revision        BIGINT NOT NULL,
    created_by      UUID NOT NULL REFERENCES users (id),
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    deleted_at      BIGINT,
    CHECK ((budget_period IS NULL) = (budget_grants IS NULL AND budget_amount IS NULL))
);
CREATE INDEX events_period ON events (end_at, start_at);
CREATE INDEX events_plugin ON events (plugin_digest);

CREATE TABLE event_rewards (
    event_id        UUID NOT NULL REFERENCES events (id),
    reward_id       UUID NOT NULL REFERENCES rewards (id),
    position        BIGINT NOT NULL,
    PRIMARY KEY (event_id, reward_id)
);
CREATE INDEX event_rewards_reward ON event_rewards (reward_id);

-- What an event said at each revision, for ever: requests refer to the revision they were decided under.
CREATE TABLE event_revisions (
    event_id        UUID NOT NULL REFERENCES events (id),
    revision        BIGINT NOT NULL,
    snapshot        JSONB NOT NULL,
    -- what the snapshot's condition runs, so that it is never deleted; NULL when the event was
    plugin_digest   TEXT REFERENCES plugin_versions (digest),
    changed_by      UUID NOT NULL REFERENCES users (id),
    changed_at      BIGINT NOT NULL,
    PRIMARY KEY (event_id, revision)
);
CREATE INDEX event_revisions_plugin ON event_revisions (plugin_digest);
