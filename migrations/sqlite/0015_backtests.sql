-- Backtests: what a condition would have decided in the past. Operators write the row and pause or cancel it; a background
-- task plans it, runs its shards and writes the report. The task deletes old rows.
CREATE TABLE backtests (
    -- a UUIDv7, so the oldest unfinished backtest runs first
    id              BLOB NOT NULL PRIMARY KEY,
    event_id        BLOB NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('QUEUED', 'RUNNING', 'PAUSED', 'DONE', 'FAILED', 'CANCELLED')),
    -- the conditions, the terms of the event and the period, as they were when the backtest was created
    terms           TEXT NOT NULL,
    -- what the users had left when the last round ended, and how the conditions depend on the time
    worlds          TEXT NOT NULL,
    -- the users and the round of the shards; NULL: not planned yet
    users           INTEGER,
    round           INTEGER,
    -- users whose stable hash is greater are not in the sample; NULL: all are
    sample_through  INTEGER,
    -- meed-report/1, canonical JSON, and its digest; NULL: not DONE
    report          TEXT,
    report_digest   TEXT,
    -- why it FAILED
    failure         TEXT,
    -- the principal
    created_by      BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    fence           INTEGER NOT NULL,
    lease_until     INTEGER NOT NULL
) STRICT;
CREATE INDEX backtests_unfinished ON backtests (id) WHERE state = 'QUEUED' OR state = 'RUNNING';
CREATE INDEX backtests_owner ON backtests (created_by, state);
CREATE INDEX backtests_event ON backtests (event_id, id);
CREATE INDEX backtests_age ON backtests (state, updated_at);

-- Users of a backtest whom one process at a time replays: those after one id and up to another. The planning of a round
-- writes the rows; the end of the backtest deletes them.
CREATE TABLE backtest_shards (
    id              BLOB NOT NULL PRIMARY KEY,
    backtest_id     BLOB NOT NULL REFERENCES backtests (id) ON DELETE CASCADE,
    number          INTEGER NOT NULL,
    after_user      BLOB NOT NULL,
    through_user    BLOB NOT NULL,
    users           INTEGER NOT NULL,
    -- the round of the result; a shard without the result of the current round is open
    round           INTEGER NOT NULL,
    -- JSON; NULL: none yet
    result          TEXT,
    fence           INTEGER NOT NULL,
    lease_until     INTEGER NOT NULL,
    UNIQUE (backtest_id, number)
) STRICT;
CREATE INDEX backtest_shards_open ON backtest_shards (backtest_id, round, number);
