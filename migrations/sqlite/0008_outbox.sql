-- The outbox tells of events and plugin versions as well, which are nobody's. SQLite cannot let a column be NULL that
-- could not, so the table is made anew.
CREATE TABLE outbox_with_subjects (
    id              BLOB NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL,
    -- whose it is; no reference: users are never deleted, and claims would pay for it
    user_id         BLOB,
    -- what it is about when it is nobody's: an event, a plugin version
    subject_id      BLOB,
    payload         TEXT NOT NULL,
    -- of the HTTP request that it came of, as the log has it
    http_request_id TEXT,
    created_at      INTEGER NOT NULL,
    sent_at         INTEGER
) STRICT;
INSERT INTO outbox_with_subjects (id, kind, user_id, payload, created_at, sent_at)
    SELECT id, kind, user_id, payload, created_at, sent_at FROM outbox;
DROP TABLE outbox;
ALTER TABLE outbox_with_subjects RENAME TO outbox;
CREATE INDEX outbox_unsent ON outbox (created_at, id) WHERE sent_at IS NULL;
