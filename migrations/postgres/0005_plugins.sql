-- Uploaded conditions. Upload writes the row; operators and the quarantine change `state`. A version is immutable: its
-- digest is the SHA-256 of the uploaded bytes. UNIQUE (name, version) proves that a version's bytes never change.
CREATE TABLE plugin_versions (
    digest          TEXT NOT NULL PRIMARY KEY,
    id              UUID NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    version         TEXT NOT NULL,
    title           TEXT NOT NULL,
    description     TEXT NOT NULL,
    texts           JSONB NOT NULL,
    params_schema   JSONB NOT NULL,
    abi             TEXT NOT NULL,
    class           TEXT NOT NULL CHECK (class IN ('STANDARD', 'RUNTIME')),
    size_bytes      BIGINT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('ACTIVE', 'DISABLED', 'QUARANTINED')),
    -- incremented with each change of the state, so that a process can detect which of its observations are outdated
    state_revision  BIGINT NOT NULL DEFAULT 1,
    -- the principal; NULL: bundled with the server
    uploaded_by     UUID,
    created_at      BIGINT NOT NULL,
    UNIQUE (name, version)
);
CREATE INDEX plugin_versions_uploaded_by ON plugin_versions (uploaded_by);

-- Who may upload versions under a name: the principal that published the first one, or was given the name. NULL:
-- bundled with the server.
CREATE TABLE plugin_names (
    name            TEXT NOT NULL PRIMARY KEY,
    owner_id        UUID,
    since           BIGINT NOT NULL
);

-- The uploaded bytes, apart from the row that lists read.
CREATE TABLE plugin_modules (
    digest          TEXT NOT NULL PRIMARY KEY REFERENCES plugin_versions (digest) ON DELETE CASCADE,
    module          BYTEA NOT NULL
);

-- Trusted signing keys. An ADMIN adds and revokes them. A revoked key stays, because signatures refer to it.
CREATE TABLE plugin_keys (
    -- minisign's key number, 16 hexadecimal digits
    key_id          TEXT NOT NULL PRIMARY KEY,
    id              UUID NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    public_key      TEXT NOT NULL,
    -- the Ed25519 key alone, in hexadecimal: a revoked key cannot return under another key id
    key             TEXT NOT NULL UNIQUE,
    -- principals
    added_by        UUID NOT NULL,
    added_at        BIGINT NOT NULL,
    revoked_by      UUID,
    revoked_at      BIGINT
);

-- The best signature of each version. Upload writes the row.
CREATE TABLE plugin_signatures (
    digest          TEXT NOT NULL PRIMARY KEY REFERENCES plugin_versions (digest) ON DELETE CASCADE,
    -- the key that the signature names; plugin_keys may not have it
    key_id          TEXT NOT NULL,
    -- whether a key of plugin_keys confirmed it, the plugin's name and version included
    verified        BOOLEAN NOT NULL,
    -- the text of the .minisig file
    signature       TEXT NOT NULL
);

-- The audit trail of each digest. It survives the deletion of the version and continues when the same bytes are
-- uploaded again. The primary key numbers the entries without gaps or repeats.
CREATE TABLE plugin_history (
    digest          TEXT NOT NULL,
    number          BIGINT NOT NULL,
    action          TEXT NOT NULL CHECK (action IN ('UPLOADED', 'SIGNED', 'DISABLED', 'ENABLED', 'QUARANTINED', 'RELEASED', 'DELETED')),
    -- the principal; NULL: the server
    changed_by      UUID,
    at              BIGINT NOT NULL,
    detail          TEXT,
    PRIMARY KEY (digest, number)
);

-- Totals over all claims. Each process adds to them every few seconds, outside of any claim.
CREATE TABLE plugin_usage (
    digest          TEXT NOT NULL PRIMARY KEY REFERENCES plugin_versions (digest) ON DELETE CASCADE,
    runs            BIGINT NOT NULL,
    failures        BIGINT NOT NULL,
    last_run_at     BIGINT NOT NULL
);
