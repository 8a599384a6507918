-- Groups of events, of which a user may have so many grants together. Operators write the row.
CREATE TABLE event_groups (
    name            TEXT NOT NULL PRIMARY KEY,
    max_per_user    INTEGER NOT NULL CHECK (max_per_user > 0),
    revision        INTEGER NOT NULL,
    -- the revision that `meed apply` wrote last; NULL: it never wrote the row
    applied_revision INTEGER,
    -- the principal
    created_by      BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

-- Offers. Operators write the row, and each change raises `revision`. A deleted event keeps its row.
CREATE TABLE events (
    id              BLOB NOT NULL PRIMARY KEY,
    -- for files and scripts; the id as text, unless an operator chose another
    name            TEXT NOT NULL,
    title           TEXT NOT NULL,
    description     TEXT NOT NULL,
    -- the event runs in the half-open period [start_at, end_at)
    start_at        INTEGER NOT NULL,
    end_at          INTEGER NOT NULL CHECK (end_at > start_at),
    is_active       INTEGER NOT NULL,
    tags            TEXT NOT NULL,
    -- in display order; event_rewards holds the same for look-ups by reward
    reward_ids      TEXT NOT NULL,
    -- IANA name of the zone in which its days begin
    time_zone       TEXT NOT NULL,
    plugin_digest   TEXT NOT NULL REFERENCES plugin_versions (digest),
    plugin_name     TEXT NOT NULL,
    plugin_version  TEXT NOT NULL,
    params          TEXT NOT NULL,
    -- the result of bind for these params: the queries, and the state that evaluate gets
    queries         TEXT NOT NULL,
    state           BLOB NOT NULL,
    recurrence      TEXT NOT NULL CHECK (recurrence IN ('ONCE', 'DAILY', 'WEEKLY', 'MONTHLY')),
    -- grants that one user may have in one period
    recurrence_count INTEGER NOT NULL CHECK (recurrence_count > 0),
    -- the most of one reward that one claim may be awarded
    max_quantity    INTEGER NOT NULL CHECK (max_quantity > 0),
    -- whether claims are always answered with 202 and decided from the queue
    respond_async   INTEGER NOT NULL DEFAULT FALSE,
    -- what all users together may be granted in one period: claims, and the sum of their rewards' values
    budget_period   TEXT CHECK (budget_period IN ('ONCE', 'DAILY', 'WEEKLY', 'MONTHLY')),
    budget_grants   INTEGER CHECK (budget_grants > 0),
    budget_amount   INTEGER CHECK (budget_amount > 0),
    -- the group for whose limit its grants count; NULL: none, or the event was deleted
    group_name      TEXT REFERENCES event_groups (name),
    -- 32 bytes, sealed (host/src/keys/sealing.rs); their SHA-256 is published when the event is created, the bytes after
    -- the event
    seed_secret     BLOB NOT NULL,
    revision        INTEGER NOT NULL,
    -- the revision that `meed apply` wrote last; NULL: it never wrote the row
    applied_revision INTEGER,
    -- the principal
    created_by      BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    deleted_at      INTEGER,
    CHECK ((budget_period IS NULL) = (budget_grants IS NULL AND budget_amount IS NULL))
) STRICT;
-- A name belongs to one event that is not deleted.
CREATE UNIQUE INDEX events_name ON events (name) WHERE deleted_at IS NULL;
CREATE INDEX events_period ON events (end_at, start_at);
CREATE INDEX events_plugin ON events (plugin_digest);
CREATE INDEX events_group ON events (group_name) WHERE group_name IS NOT NULL;

-- Each revision of each event, never deleted: requests refer to the revision they were decided under. Changing an event
-- writes the row in the same transaction.
CREATE TABLE event_revisions (
    event_id        BLOB NOT NULL REFERENCES events (id),
    revision        INTEGER NOT NULL,
    snapshot        TEXT NOT NULL,
    -- keeps the plugin of the snapshot's condition from being deleted; NULL: the event was deleted
    plugin_digest   TEXT REFERENCES plugin_versions (digest),
    -- the principal
    changed_by      BLOB NOT NULL,
    changed_at      INTEGER NOT NULL,
    PRIMARY KEY (event_id, revision)
) STRICT;
CREATE INDEX event_revisions_plugin ON event_revisions (plugin_digest);

-- What was used of an event's budget in one period. The first grant of the period writes the row, and only when the
-- event has a budget; claims add to it and reversals subtract. The CHECKs prove "never beyond the budget".
CREATE TABLE event_budgets (
    event_id        BLOB NOT NULL REFERENCES events (id),
    -- the period in the event's zone, as in reward_requests.budget_period
    period          TEXT NOT NULL,
    -- used and not returned; the amount is counted only while the budget has one
    grants          INTEGER NOT NULL CHECK (grants >= 0),
    amount          INTEGER NOT NULL CHECK (amount >= 0),
    -- the event's limit at the latest grant; NULL: no limit
    max_grants      INTEGER,
    max_amount      INTEGER,
    PRIMARY KEY (event_id, period),
    CONSTRAINT event_budgets_grants CHECK (grants <= max_grants),
    CONSTRAINT event_budgets_amount CHECK (amount <= max_amount)
) STRICT;
