-- The transparency log: an append-only Merkle tree (RFC 9162) over digests of decisions, reversals, releases, reports,
-- erasures, retention and audit entries. It holds digests and ids, and never personal data, so nothing of it is erased.

-- Rows that wait to be appended. The transaction that makes a row also writes it here, once; the task that appends its
-- digest deletes it. There are no foreign keys, because the rows are in the tables of many features.
CREATE TABLE transparency_queue (
    source          TEXT NOT NULL,
    id              UUID NOT NULL,
    PRIMARY KEY (source, id)
);

-- The leaves of the tree. Rows are never changed or deleted.
CREATE TABLE transparency_leaves (
    -- from 0, without gaps
    position        BIGINT NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL,
    -- of the row that the leaf is about
    id              UUID NOT NULL,
    -- the digest of its signed document; NULL: it has none
    document        BYTEA,
    -- the digest of what never changes in the row
    content         BYTEA NOT NULL,
    -- a row has one leaf of each kind, so that the first one counts
    UNIQUE (kind, id)
);

-- The hashes of the tree, 256 of one level together: of the level 8 * level of the tree, from 256 * position on. The last
-- tile of each level grows.
CREATE TABLE transparency_tiles (
    level           BIGINT NOT NULL,
    position        BIGINT NOT NULL,
    hashes          BYTEA NOT NULL,
    PRIMARY KEY (level, position)
);

-- Signed sizes and roots. All are kept for 30 days, and the first one of each day for ever.
CREATE TABLE transparency_checkpoints (
    size            BIGINT NOT NULL PRIMARY KEY,
    created_at      BIGINT NOT NULL,
    -- whether it is the first one of its day (UTC)
    first_of_day    BOOLEAN NOT NULL,
    -- the signed note (C2SP tlog-checkpoint)
    note            TEXT NOT NULL
);
CREATE INDEX transparency_checkpoints_age ON transparency_checkpoints (created_at) WHERE NOT first_of_day;

-- The size of the tree, and the lease to append to it. The first process that appends writes the only row.
CREATE TABLE transparency_log (
    name            TEXT NOT NULL PRIMARY KEY,
    size            BIGINT NOT NULL,
    fence           BIGINT NOT NULL,
    lease_until     BIGINT NOT NULL
) WITH (fillfactor = 50);

-- Which rows retention may have deleted: those of leaves of this kind whose id is lower. Retention writes the row in the
-- transaction that deletes, so that a row that is missing for another reason is found.
CREATE TABLE transparency_removals (
    id              UUID NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL,
    lower_than      UUID NOT NULL,
    removed_at      BIGINT NOT NULL
);

-- What was there before the log.
INSERT INTO transparency_queue (source, id) SELECT 'request', id FROM reward_requests;
INSERT INTO transparency_queue (source, id) SELECT 'reversal', request_id FROM reversals;
INSERT INTO transparency_queue (source, id) SELECT 'erasure', user_id FROM user_erasures WHERE begun_at IS NOT NULL;
INSERT INTO transparency_queue (source, id) SELECT 'audit', id FROM audit_log;
