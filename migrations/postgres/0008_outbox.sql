-- The outbox tells of events and plugin versions as well, which are nobody's.
-- no reference: users are never deleted, and claims would pay for it
ALTER TABLE outbox DROP CONSTRAINT IF EXISTS outbox_user_id_fkey;
ALTER TABLE outbox ALTER COLUMN user_id DROP NOT NULL;
-- what it is about when it is nobody's: an event, a plugin version
ALTER TABLE outbox ADD COLUMN subject_id UUID;
-- of the HTTP request that it came of, as the log has it
ALTER TABLE outbox ADD COLUMN http_request_id TEXT;
