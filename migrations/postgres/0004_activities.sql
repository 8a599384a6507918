-- Which user a reported activity belongs to, by the reporter and its id. Recording writes the row together with the
-- activity. The primary key proves that a report is recorded once and for one user, on whichever shard the user is.
CREATE TABLE activity_directory (
    source          TEXT NOT NULL,
    source_id       TEXT NOT NULL,
    user_id         UUID NOT NULL,
    -- the activity itself is deleted: it is compacted
    is_compacted    BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (source, source_id)
);
CREATE INDEX activity_directory_compacted ON activity_directory (user_id) WHERE is_compacted;

-- Who may report under a source: the principal that used it first, or was given it. NULL: a topic or the server used
-- it first.
CREATE TABLE activity_sources (
    source          TEXT NOT NULL PRIMARY KEY,
    owner_id        UUID,
    since           BIGINT NOT NULL
);

-- What users did, append-only. Reports over HTTP or from a topic write rows, and so do registration and login.
CREATE TABLE activities (
    user_id         UUID NOT NULL REFERENCES users (id),
    -- the reporter, and the reporter's id of the activity
    source          TEXT NOT NULL,
    source_id       TEXT NOT NULL,
    -- orders activities of the same instant
    id              UUID NOT NULL,
    kind            TEXT NOT NULL,
    -- minor units
    amount          BIGINT,
    -- an object of texts
    attributes      JSONB NOT NULL,
    occurred_at     BIGINT NOT NULL,
    recorded_at     BIGINT NOT NULL,
    -- the principal; NULL: a topic or the server
    reported_by     UUID,
    -- who invited the user
    inviter_id      UUID,
    PRIMARY KEY (user_id, source, source_id)
);
-- Facts read one user's activities of one kind in a window; lists read them in the order of time and id.
CREATE INDEX activities_facts ON activities (user_id, kind, occurred_at, id, amount);
-- The same for queries about all users whom one user has invited.
CREATE INDEX activities_invited ON activities (inviter_id, kind, occurred_at, id, amount) WHERE inviter_id IS NOT NULL;
CREATE INDEX activities_history ON activities (user_id, occurred_at, id);

-- Invited users who have done nothing yet. Registration writes the row; the first reported activity of the user deletes
-- it and records `invite.accepted` for the inviter.
CREATE TABLE pending_invitations (
    user_id         UUID NOT NULL PRIMARY KEY REFERENCES users (id),
    inviter_id      UUID NOT NULL,
    registered_at   BIGINT NOT NULL
);
