-- Keys of programs. An ADMIN or the command line writes the row. A revoked key keeps its row, because the audit log and
-- receipts name it.
CREATE TABLE service_keys (
    id              UUID NOT NULL PRIMARY KEY,
    -- as in settings
    name            TEXT NOT NULL,
    -- name, scopes, sources, addresses, end and rate limit, as the API shows them
    settings        JSONB NOT NULL,
    -- SHA-256 of the secret; the secret itself is never stored
    hash            BYTEA NOT NULL,
    -- the secret before the latest rotation, and until when it is valid
    previous_hash   BYTEA,
    previous_until  BIGINT,
    revision        BIGINT NOT NULL,
    -- the revision that `meed apply` wrote last; NULL: it never wrote the row
    applied_revision BIGINT,
    -- the principal; NULL: the command line
    created_by      UUID,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    last_used_at    BIGINT,
    last_used_address TEXT,
    revoked_at      BIGINT,
    CHECK ((previous_hash IS NULL) = (previous_until IS NULL))
);
-- A name belongs to one key that is not revoked.
CREATE UNIQUE INDEX service_keys_name ON service_keys (name) WHERE revoked_at IS NULL;
