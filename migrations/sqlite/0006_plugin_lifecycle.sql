-- What becomes of a plugin version after its upload: who signed it, how it runs, who changed its state.

-- Whose signatures on uploads count. A revoked key stays: versions refer to it.
CREATE TABLE plugin_keys (
    -- the key's own id: minisign's key number, 16 hexadecimal digits
    key_id          TEXT NOT NULL PRIMARY KEY,
    id              BLOB NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    public_key      TEXT NOT NULL,
    added_by        BLOB NOT NULL REFERENCES users (id),
    added_at        INTEGER NOT NULL,
    revoked_by      BLOB REFERENCES users (id),
    revoked_at      INTEGER
) STRICT;

CREATE TABLE plugin_signatures (
    digest          TEXT NOT NULL PRIMARY KEY REFERENCES plugin_versions (digest) ON DELETE CASCADE,
    -- what the signature says; the key need not be one of ours
    key_id          TEXT NOT NULL,
    -- whether a key of plugin_keys confirmed it, the plugin's name and version included
    verified        INTEGER NOT NULL,
    -- the text of the .minisig file
    signature       TEXT NOT NULL
) STRICT;

-- The audit trail. It stays when the version is deleted, and goes on when the same bytes are uploaded again.
CREATE TABLE plugin_history (
    digest          TEXT NOT NULL,
    number          INTEGER NOT NULL,
    action          TEXT NOT NULL CHECK (action IN ('UPLOADED', 'SIGNED', 'DISABLED', 'ENABLED', 'QUARANTINED', 'RELEASED', 'DELETED')),
    -- NULL: the server
    by_user         BLOB REFERENCES users (id),
    at              INTEGER NOT NULL,
    detail          TEXT,
    PRIMARY KEY (digest, number)
) STRICT;

-- Totals over all claims. Each process adds to them every few seconds, never while a claim waits.
CREATE TABLE plugin_usage (
    digest          TEXT NOT NULL PRIMARY KEY REFERENCES plugin_versions (digest) ON DELETE CASCADE,
    runs            INTEGER NOT NULL,
    failures        INTEGER NOT NULL,
    last_run_at     INTEGER NOT NULL
) STRICT;
