-- Keys of programs. An ADMIN or the command line writes the row. A revoked key keeps its row, because the audit log and
-- receipts name it.
CREATE TABLE service_keys (
    id              BLOB NOT NULL PRIMARY KEY,
    -- as in settings
    name            TEXT NOT NULL,
    -- name, scopes, sources, addresses, end and rate limit, as the API shows them
    settings        TEXT NOT NULL,
    -- SHA-256 of the secret; the secret itself is never stored
    hash            BLOB NOT NULL,
    -- the secret before the latest rotation, and until when it is valid
    previous_hash   BLOB,
    previous_until  INTEGER,
    revision        INTEGER NOT NULL,
    -- the revision that `meed apply` wrote last; NULL: it never wrote the row
    applied_revision INTEGER,
    -- the principal; NULL: the command line
    created_by      BLOB,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    last_used_at    INTEGER,
    last_used_address TEXT,
    revoked_at      INTEGER,
    CHECK ((previous_hash IS NULL) = (previous_until IS NULL))
) STRICT;
-- A name belongs to one key that is not revoked.
CREATE UNIQUE INDEX service_keys_name ON service_keys (name) WHERE revoked_at IS NULL;
