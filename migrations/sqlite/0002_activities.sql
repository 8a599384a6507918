-- What users did: append-only.
CREATE TABLE activities (
    id              BLOB NOT NULL PRIMARY KEY,
    -- who reported it and under which id: reporting the same twice records it once
    source          TEXT NOT NULL,
    source_id       TEXT NOT NULL,
    user_id         BLOB NOT NULL REFERENCES users (id),
    kind            TEXT NOT NULL,
    -- minor units
    amount          INTEGER,
    -- an object of texts
    attributes      TEXT NOT NULL,
    occurred_at     INTEGER NOT NULL,
    recorded_at     INTEGER NOT NULL,
    UNIQUE (source, source_id)
) STRICT;
-- Facts read one user's activities of one kind in a window.
CREATE INDEX activities_facts ON activities (user_id, kind, occurred_at, amount);
CREATE INDEX activities_history ON activities (user_id, occurred_at, id);
