-- The transparency log: an append-only Merkle tree (RFC 9162) over digests of decisions, reversals, releases, reports,
-- erasures, retention and audit entries. It holds digests and ids, and never personal data, so nothing of it is erased.

-- Rows that wait to be appended. The transaction that makes a row also writes it here, once; the task that appends its
-- digest deletes it. There are no foreign keys, because the rows are in the tables of many features.
CREATE TABLE transparency_queue (
    source          TEXT NOT NULL,
    id              BLOB NOT NULL,
    PRIMARY KEY (source, id)
) STRICT;

-- The leaves of the tree. Rows are never changed or deleted.
CREATE TABLE transparency_leaves (
    -- from 0, without gaps
    position        INTEGER NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL,
    -- of the row that the leaf is about
    id              BLOB NOT NULL,
    -- the digest of its signed document; NULL: it has none
    document        BLOB,
    -- the digest of what never changes in the row
    content         BLOB NOT NULL,
    -- a row has one leaf of each kind, so that the first one counts
    UNIQUE (kind, id)
) STRICT;

-- The hashes of the tree, 256 of one level together: of the level 8 * level of the tree, from 256 * position on. The last
-- tile of each level grows.
CREATE TABLE transparency_tiles (
    level           INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    hashes          BLOB NOT NULL,
    PRIMARY KEY (level, position)
) STRICT;

-- Signed sizes and roots. All are kept for 30 days, and the first one of each day for ever.
CREATE TABLE transparency_checkpoints (
    size            INTEGER NOT NULL PRIMARY KEY,
    created_at      INTEGER NOT NULL,
    -- whether it is the first one of its day (UTC)
    first_of_day    INTEGER NOT NULL,
    -- the signed note (C2SP tlog-checkpoint)
    note            TEXT NOT NULL
) STRICT;
CREATE INDEX transparency_checkpoints_age ON transparency_checkpoints (created_at) WHERE NOT first_of_day;

-- The size of the tree, and the lease to append to it. The first process that appends writes the only row.
CREATE TABLE transparency_log (
    name            TEXT NOT NULL PRIMARY KEY,
    size            INTEGER NOT NULL,
    fence           INTEGER NOT NULL,
    lease_until     INTEGER NOT NULL
) STRICT;

-- Which rows retention may have deleted: those of leaves of this kind whose id is lower. Retention writes the row in the
-- transaction that deletes, so that a row that is missing for another reason is found.
CREATE TABLE transparency_removals (
    id              BLOB NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL,
    lower_than      BLOB NOT NULL,
    removed_at      INTEGER NOT NULL
) STRICT;

-- What was there before the log.
INSERT INTO transparency_queue (source, id) SELECT 'request', id FROM reward_requests;
INSERT INTO transparency_queue (source, id) SELECT 'reversal', request_id FROM reversals;
INSERT INTO transparency_queue (source, id) SELECT 'erasure', user_id FROM user_erasures WHERE begun_at IS NOT NULL;
INSERT INTO transparency_queue (source, id) SELECT 'audit', id FROM audit_log;
