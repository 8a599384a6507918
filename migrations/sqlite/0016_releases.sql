-- The revision at which an event was active last: a change of a paused event is compared with it. Creating or changing an
-- active event writes the row.
CREATE TABLE live_events (
    event_id        BLOB NOT NULL PRIMARY KEY REFERENCES events (id),
    revision        INTEGER NOT NULL
) STRICT;

-- Proposed contents of events on their way to production. Staff write the row, and the server while a release ramps. A closed
-- release is kept, because receipts and revisions of its event came from it.
CREATE TABLE releases (
    id              BLOB NOT NULL PRIMARY KEY,
    event_id        BLOB NOT NULL REFERENCES events (id),
    -- each change raises it
    revision        INTEGER NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('DRAFT', 'REVIEW', 'APPROVED', 'RAMPING', 'HELD', 'LIVE', 'ROLLED_BACK', 'WITHDRAWN')),
    title           TEXT NOT NULL,
    -- the whole content that the event gets, as a request would send it
    content         TEXT NOT NULL,
    -- the revision of the event that the content was made from
    event_revision  INTEGER NOT NULL,
    -- the plugin version of the content; the reference keeps it from being deleted
    plugin_digest   TEXT NOT NULL REFERENCES plugin_versions (digest),
    -- the steps and the guard of the ramp, and when it is activated
    plan            TEXT NOT NULL,
    -- the backtest that is the evidence, and the digest of its report
    backtest_id     BLOB,
    report_digest   TEXT,
    -- why no backtest is needed, and the principal who said so
    waiver          TEXT,
    waived_by       BLOB,
    -- the people who wrote any of it, as a list of their ids; empty: a key of the command line did
    authors         TEXT NOT NULL,
    -- the principal who proposed it
    created_by      BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    -- the SHA-256 of what the approver saw, the person and the time; NULL: not approved
    approved_hash   TEXT,
    approved_by     BLOB,
    approved_at     INTEGER,
    -- the step of the ramp, counted from 0, and when it began
    step            INTEGER NOT NULL DEFAULT 0,
    step_at         INTEGER,
    -- the revision of the event after the release changed it last
    trial_revision  INTEGER,
    -- the revision of the event that a rollback restores; NULL: the event was never active before
    previous_revision INTEGER,
    -- why it is held, was rolled back, rejected or withdrawn
    reason          TEXT,
    -- the number of its entries
    entries         INTEGER NOT NULL,
    -- when the server looks at it next; NULL: it waits for a person
    due_at          INTEGER,
    CHECK ((approved_hash IS NULL) = (approved_by IS NULL) AND (approved_hash IS NULL) = (approved_at IS NULL)),
    CHECK (state NOT IN ('APPROVED', 'RAMPING', 'HELD', 'LIVE') OR approved_hash IS NOT NULL)
) STRICT;
CREATE INDEX releases_event ON releases (event_id, id);
CREATE INDEX releases_state ON releases (state, id);
CREATE INDEX releases_due ON releases (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX releases_plugin ON releases (plugin_digest);
-- One release at a time tries a condition for an event.
CREATE UNIQUE INDEX releases_running ON releases (event_id) WHERE state IN ('RAMPING', 'HELD');

-- What happened to a release, in order: its comments and its transitions. Kept as long as the release.
CREATE TABLE release_entries (
    release_id      BLOB NOT NULL REFERENCES releases (id),
    -- counted from 1
    number          INTEGER NOT NULL,
    -- COMMENTED, or the action
    action          TEXT NOT NULL,
    -- the principal; NULL: the server
    made_by         BLOB,
    made_at         INTEGER NOT NULL,
    text            TEXT,
    -- the hash of what the release was then
    hash            TEXT NOT NULL,
    -- the digest of the row of the release after it, without due_at
    release_digest  TEXT NOT NULL,
    -- of its leaf in the transparency log
    id              BLOB NOT NULL UNIQUE,
    PRIMARY KEY (release_id, number)
) STRICT;
