-- What is maintained beside the log, so that the facts of a user with many activities are read in constant time. Everything
-- here can be deleted and built again from `activities`.

-- A series: the activities of one kind that pass the filters, counted and summed or, with a zone, by their days. Events
-- need it; the server derives the id from the content.
CREATE TABLE fact_series (
    id              BIGINT NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL,
    -- an array of attribute and value
    filters         JSONB NOT NULL,
    -- IANA name; NULL: counts and sums
    zone            TEXT,
    -- BUILDING: it looks for users with many activities; READY; DROPPED: no event needs it
    state           TEXT NOT NULL,
    -- the users up to this one were looked at
    scanned         UUID NOT NULL
);
CREATE INDEX fact_series_kind ON fact_series (kind);
CREATE INDEX fact_series_unready ON fact_series (state, id) WHERE state <> 'READY';

-- Which events need a series, until they end.
CREATE TABLE fact_needs (
    series          BIGINT NOT NULL REFERENCES fact_series (id),
    event_id        UUID NOT NULL,
    until           BIGINT NOT NULL,
    PRIMARY KEY (series, event_id)
);
CREATE INDEX fact_needs_event ON fact_needs (event_id);
CREATE INDEX fact_needs_until ON fact_needs (until);

-- A series of a user with many activities of the kind. What ingestion writes at or before `through` it also writes to the
-- marks or days; a task moves `through`. Ingestion locks the row for share, the task for update.
CREATE TABLE fact_heads (
    user_id         UUID NOT NULL REFERENCES users (id),
    kind            TEXT NOT NULL,
    series          BIGINT NOT NULL,
    -- the last activity that is contained; -1: none
    through_at      BIGINT NOT NULL,
    through_id      UUID NOT NULL,
    -- NEW: transactions may run that have not seen the row; BUILDING; BUILT
    state           TEXT NOT NULL,
    -- in an interval between marks with too many activities; NULL: there is none
    crowded_at      BIGINT,
    crowded_id      UUID,
    PRIMARY KEY (user_id, kind, series)
) WITH (fillfactor = 70);
CREATE INDEX fact_heads_series ON fact_heads (series, user_id);
CREATE INDEX fact_heads_unbuilt ON fact_heads (series, user_id) WHERE state <> 'BUILT';

-- How many activities of a series a user had, and their sum, up to and including this one.
CREATE TABLE fact_marks (
    user_id         UUID NOT NULL REFERENCES users (id),
    series          BIGINT NOT NULL,
    at              BIGINT NOT NULL,
    id              UUID NOT NULL,
    n               BIGINT NOT NULL,
    sum             BIGINT NOT NULL,
    PRIMARY KEY (user_id, series, at, id)
) WITH (fillfactor = 70);

-- The days of a user in a series with a zone: bit d of a word is the day 62 * word + d since 1970.
CREATE TABLE fact_days (
    user_id         UUID NOT NULL REFERENCES users (id),
    series          BIGINT NOT NULL,
    word            BIGINT NOT NULL,
    bits            BIGINT NOT NULL,
    PRIMARY KEY (user_id, series, word)
) WITH (fillfactor = 70);
