-- Topics of a message broker that are told what is in the outbox, and what waits to be published there.
CREATE TABLE outbox_topics (
    name            TEXT NOT NULL PRIMARY KEY,
    -- it is told what happened from here on
    created_at      INTEGER NOT NULL,
    -- when a process last said that it publishes to it
    used_at         INTEGER NOT NULL,
    -- the right to publish: the process that raised the fence last has it until lease_until; 0: no process
    fence           INTEGER NOT NULL,
    lease_until     INTEGER NOT NULL
) STRICT;

CREATE TABLE outbox_topic_messages (
    topic           TEXT NOT NULL REFERENCES outbox_topics (name) ON DELETE CASCADE,
    message_id      BLOB NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
    -- the user, or else the event or plugin version: published one after the other, in the order of told_at
    line            BLOB NOT NULL,
    -- outbox.created_at
    told_at         INTEGER NOT NULL,
    -- why the broker will never take it; then it waits for nothing
    refused         TEXT,
    PRIMARY KEY (topic, message_id)
) STRICT;
CREATE INDEX outbox_topic_messages_waiting ON outbox_topic_messages (topic, told_at, message_id) WHERE refused IS NULL;
CREATE INDEX outbox_topic_messages_message ON outbox_topic_messages (message_id);
