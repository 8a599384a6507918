-- What is maintained beside the log, so that the facts of a user with many activities are read in constant time. Everything
-- here can be deleted and built again from `activities`, except what is about activities that are compacted.

-- A series: the activities of one kind that pass the filters, counted and summed or, with a zone, by their days; those of a
-- user, or of all users whom a user has invited. Events need it; the server derives the id from the content.
CREATE TABLE fact_series (
    id              INTEGER NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL,
    -- an array of attribute and value
    filters         TEXT NOT NULL,
    -- IANA name; NULL: counts and sums
    zone            TEXT,
    is_of_invitees  INTEGER NOT NULL,
    -- BUILDING: it looks for users with many activities; READY; DROPPED: no event needs it
    state           TEXT NOT NULL,
    -- the users up to this one were looked at
    scanned         BLOB NOT NULL,
    -- the version of the zone data with which it was made
    zone_data       TEXT NOT NULL
) STRICT;
CREATE INDEX fact_series_kind ON fact_series (kind);
CREATE INDEX fact_series_unready ON fact_series (state, id) WHERE state <> 'READY';

-- Which events need a series, until they end.
CREATE TABLE fact_needs (
    series          INTEGER NOT NULL REFERENCES fact_series (id),
    event_id        BLOB NOT NULL,
    until           INTEGER NOT NULL,
    -- where the windows of its queries begin that do not move: an array of instants, 0 for the window of all time
    starts          TEXT NOT NULL,
    -- the longest window that moves, in days; 0: none
    days            INTEGER NOT NULL,
    PRIMARY KEY (series, event_id)
) STRICT;
CREATE INDEX fact_needs_event ON fact_needs (event_id);
CREATE INDEX fact_needs_until ON fact_needs (until);

-- A series of a user with many activities of the kind. What ingestion writes at or before `through` it also writes to the
-- marks or days; a task moves `through`. Ingestion locks the row for share, the task for update.
CREATE TABLE fact_heads (
    user_id         BLOB NOT NULL REFERENCES users (id),
    kind            TEXT NOT NULL,
    series          INTEGER NOT NULL,
    -- the last activity that is contained; -1: none
    through_at      INTEGER NOT NULL,
    through_id      BLOB NOT NULL,
    -- NEW: transactions may run that have not seen the row; BUILDING; BUILT
    state           TEXT NOT NULL,
    -- in an interval between marks with too many activities; NULL: there is none
    crowded_at      INTEGER,
    crowded_id      BLOB,
    PRIMARY KEY (user_id, kind, series)
) STRICT, WITHOUT ROWID;
CREATE INDEX fact_heads_series ON fact_heads (series, user_id);
CREATE INDEX fact_heads_unbuilt ON fact_heads (series, user_id) WHERE state <> 'BUILT';

-- How many activities of a series a user had, and their sum, up to and including this one. At the horizon of compacted
-- activities, and where a window begins before it, there are marks with the highest id. In a series of days, `n` of such a
-- mark is bits: the days from three before the mark that have an activity before the horizon or, at the beginning of a
-- window, in its first four days.
CREATE TABLE fact_marks (
    user_id         BLOB NOT NULL REFERENCES users (id),
    series          INTEGER NOT NULL,
    at              INTEGER NOT NULL,
    id              BLOB NOT NULL,
    n               INTEGER NOT NULL,
    sum             INTEGER NOT NULL,
    -- of the last activity of the series until then; -1: none
    last_at         INTEGER NOT NULL,
    -- of the first one after it and before the horizon, where a window begins
    next_at         INTEGER,
    PRIMARY KEY (user_id, series, at, id)
) STRICT, WITHOUT ROWID;
-- The first activity of a series after an instant is behind the last mark before it.
CREATE INDEX fact_marks_last ON fact_marks (user_id, series, last_at, at, id);

-- The days of a user in a series with a zone: bit d of a word is the day 62 * word + d since 1970.
CREATE TABLE fact_days (
    user_id         BLOB NOT NULL REFERENCES users (id),
    series          INTEGER NOT NULL,
    word            INTEGER NOT NULL,
    bits            INTEGER NOT NULL,
    PRIMARY KEY (user_id, series, word)
) STRICT, WITHOUT ROWID;

-- Up to where the activities of a kind may be compacted: deleted, because everything that events ask about them is in the
-- marks and days of their users. Activities before it are refused.
CREATE TABLE fact_horizons (
    kind            TEXT NOT NULL PRIMARY KEY,
    -- exclusive
    until           INTEGER NOT NULL,
    -- the same for users who were invited; it is earlier as long as an event asks about invitees
    invited_until   INTEGER NOT NULL,
    -- FALSE: transactions may run that have not seen the row
    is_settled      INTEGER NOT NULL,
    -- the users up to this one are compacted
    scanned         BLOB NOT NULL
) STRICT;

-- Activities of a user that are compacted, with their number and sum.
CREATE TABLE fact_compactions (
    user_id         BLOB NOT NULL REFERENCES users (id),
    kind            TEXT NOT NULL,
    -- exclusive
    until           INTEGER NOT NULL,
    compacted_at    INTEGER NOT NULL,
    n               INTEGER NOT NULL,
    sum             INTEGER NOT NULL,
    first_at        INTEGER,
    last_at         INTEGER,
    -- FALSE: some before `until` are still there
    is_done         INTEGER NOT NULL,
    PRIMARY KEY (user_id, kind)
) STRICT, WITHOUT ROWID;
