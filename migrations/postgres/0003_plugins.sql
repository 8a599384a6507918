-- Uploaded conditions. A version is immutable: its digest is the sha256 of the bytes that were uploaded.
CREATE TABLE plugin_versions (
    digest          TEXT NOT NULL PRIMARY KEY,
    id              UUID NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    version         TEXT NOT NULL,
    title           TEXT NOT NULL,
    description     TEXT NOT NULL,
    params_schema   JSONB NOT NULL,
    abi             TEXT NOT NULL,
    class           TEXT NOT NULL CHECK (class IN ('STANDARD', 'RUNTIME')),
    size_bytes      BIGINT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('ACTIVE', 'DISABLED', 'QUARANTINED')),
    -- one more with every change of the state, so that each process knows which of its observations are of before
    state_revision  BIGINT NOT NULL DEFAULT 1,
    -- NULL: bundled with the server
    uploaded_by     UUID REFERENCES users (id),
    created_at      BIGINT NOT NULL,
    UNIQUE (name, version)
);
CREATE INDEX plugin_versions_uploaded_by ON plugin_versions (uploaded_by);

CREATE TABLE plugin_modules (
    digest          TEXT NOT NULL PRIMARY KEY REFERENCES plugin_versions (digest) ON DELETE CASCADE,
    module          BYTEA NOT NULL
);
