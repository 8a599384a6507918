-- Messages to publish, written in the transaction of the change. Fan-out sets sent_at; the sweep deletes rows that
-- every endpoint and topic has.
CREATE TABLE outbox (
    id              UUID NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL,
    -- the user it belongs to; NULL: none
    user_id         UUID,
    -- its subject if it belongs to no user: an event, a plugin version
    subject_id      UUID,
    payload         JSONB NOT NULL,
    -- of the HTTP request that caused it, as in the log
    http_request_id TEXT,
    -- names what is told once only, as long as the message is kept; NULL: it is told each time
    once_key        TEXT,
    created_at      BIGINT NOT NULL,
    -- when fan-out wrote a row for each endpoint and topic; NULL: not yet
    sent_at         BIGINT
);
CREATE INDEX outbox_unsent ON outbox (created_at, id) WHERE sent_at IS NULL;
-- A user's stream continues after the last message that its client has.
CREATE INDEX outbox_user ON outbox (user_id, id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX outbox_once ON outbox (once_key) WHERE once_key IS NOT NULL;
-- The sweep's order. Claims do not touch this index.
CREATE INDEX outbox_sent ON outbox (sent_at, id) WHERE sent_at IS NOT NULL;

-- Topics of a message broker. The first process that publishes to a topic writes the row.
CREATE TABLE outbox_topics (
    name            TEXT NOT NULL PRIMARY KEY,
    -- messages from here on are published
    created_at      BIGINT NOT NULL,
    -- when a process last reported that it publishes to it
    used_at         BIGINT NOT NULL,
    -- the lease to publish: the process that raised the fence last has it until lease_until; 0: no process
    fence           BIGINT NOT NULL,
    lease_until     BIGINT NOT NULL
);

-- Messages that wait to be published to a topic. Fan-out writes the row, publishing deletes it. The primary key proves
-- that a message waits once per topic.
CREATE TABLE outbox_topic_messages (
    topic           TEXT NOT NULL REFERENCES outbox_topics (name) ON DELETE CASCADE,
    message_id      UUID NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
    -- the user, or else the event or plugin version: its messages are published one after the other, by created_at
    ordering_key    UUID NOT NULL,
    -- outbox.created_at
    created_at         BIGINT NOT NULL,
    -- why the broker rejects it permanently; NULL: it waits
    refused         TEXT,
    PRIMARY KEY (topic, message_id)
);
CREATE INDEX outbox_topic_messages_waiting ON outbox_topic_messages (topic, created_at, message_id) WHERE refused IS NULL;
CREATE INDEX outbox_topic_messages_refused ON outbox_topic_messages (topic, message_id) WHERE refused IS NOT NULL;
CREATE INDEX outbox_topic_messages_message ON outbox_topic_messages (message_id);
