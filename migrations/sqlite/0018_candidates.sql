-- The candidate of an event: the condition of a release that live claims try, with its queries and its state, and whether it
-- decides for a share of the users. Each change of it is a revision of the event.
ALTER TABLE events ADD COLUMN candidate TEXT;
-- the candidate's plugin, which cannot be deleted
ALTER TABLE events ADD COLUMN candidate_digest TEXT REFERENCES plugin_versions (digest);
CREATE INDEX events_candidate ON events (candidate_digest) WHERE candidate_digest IS NOT NULL;

-- Receipts name the plugin that decided under this revision, so it cannot be deleted later either.
ALTER TABLE event_revisions ADD COLUMN candidate_digest TEXT REFERENCES plugin_versions (digest);
CREATE INDEX event_revisions_candidate ON event_revisions (candidate_digest) WHERE candidate_digest IS NOT NULL;

-- What a release did to live claims, counted per revision of its event (a step of the ramp), per arm and per hour. Every
-- process adds what it counted every few seconds, never once per claim. Kept as long as the release.
CREATE TABLE release_counters (
    release_id      BLOB NOT NULL,
    event_revision  INTEGER NOT NULL,
    -- who decides in this arm: the condition of the event, or the candidate
    arm             TEXT NOT NULL CHECK (arm IN ('STABLE', 'CANDIDATE')),
    -- its first instant, UTC
    hour            INTEGER NOT NULL,
    -- host/src/releases/totals.rs
    totals          TEXT NOT NULL,
    PRIMARY KEY (release_id, event_revision, arm, hour)
) STRICT;

-- Claims of which the condition and the candidate decided differently, with both decisions. Deleted after 30 days, and when
-- the user is erased.
CREATE TABLE release_divergences (
    user_id         BLOB NOT NULL,
    id              BLOB NOT NULL,
    release_id      BLOB NOT NULL,
    event_id        BLOB NOT NULL,
    event_revision  INTEGER NOT NULL,
    -- the claim
    request_id      BLOB NOT NULL,
    kind            TEXT NOT NULL,
    -- which of the two decided the claim
    decided_by      TEXT NOT NULL CHECK (decided_by IN ('STABLE', 'CANDIDATE')),
    stable          TEXT NOT NULL,
    candidate       TEXT NOT NULL,
    decided_at      INTEGER NOT NULL,
    PRIMARY KEY (user_id, id)
) STRICT;
CREATE INDEX release_divergences_release ON release_divergences (release_id, id);
CREATE INDEX release_divergences_kind ON release_divergences (release_id, kind, id);
CREATE INDEX release_divergences_age ON release_divergences (decided_at);
