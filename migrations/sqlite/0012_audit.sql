-- Who did what: security events and the actions of staff. Each action writes its row in its own transaction. Rows are
-- never changed, except that `occurrences` of a refusal grows within its minute.
CREATE TABLE audit_log (
    -- a UUIDv7, so entries are ordered by time
    id              BLOB NOT NULL PRIMARY KEY,
    at              INTEGER NOT NULL,
    actor_kind      TEXT NOT NULL CHECK (actor_kind IN ('USER', 'SERVICE_KEY', 'ANONYMOUS', 'SYSTEM')),
    -- the principal
    actor_id        BLOB,
    actor_role      TEXT,
    -- of a service key
    actor_name      TEXT,
    -- the client's address
    address         TEXT,
    request_id      TEXT,
    -- method and path pattern of the request, or the command
    action          TEXT NOT NULL,
    target_kind     TEXT,
    target_id       TEXT,
    outcome         TEXT NOT NULL CHECK (outcome IN ('DONE', 'REFUSED', 'FAILED')),
    -- the problem code of a refusal
    reason          TEXT,
    -- field -> {"old", "new"}
    changes         TEXT NOT NULL,
    occurrences     INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_log_actor ON audit_log (actor_id, id);
CREATE INDEX audit_log_action ON audit_log (action, id);
CREATE INDEX audit_log_target ON audit_log (target_id, id);
CREATE INDEX audit_log_outcome ON audit_log (outcome, id);
-- Two filters: who did something often may have done the rest seldom.
CREATE INDEX audit_log_actor_action ON audit_log (actor_id, action, id);
CREATE INDEX audit_log_actor_outcome ON audit_log (actor_id, outcome, id);
CREATE INDEX audit_log_action_outcome ON audit_log (action, outcome, id);
