-- Two roles for Meed's database: `meed_owner` migrates and owns the tables, `meed_serve` reads and writes rows and can
-- change no table. Run this file in Meed's database as an administrator, before the first `meed migrate`:
--
--     psql --set ON_ERROR_STOP=1 --dbname meed --file roles.sql
--
-- Then set the passwords: without one, a role cannot log in with a password. The file can be run again at any time.

DO $$
DECLARE
    name TEXT;
BEGIN
    FOREACH name IN ARRAY ARRAY['meed_owner', 'meed_serve'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', name);
        END IF;
    END LOOP;
    -- An administrator without superuser rights, as in managed databases, must be a member to act for the owner.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT meed_owner TO %I', current_user);
    END IF;
    -- By default every role of the server may connect and create temporary tables.
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO meed_owner, meed_serve', current_database());
END $$;

-- Up to PostgreSQL 14, every role may create tables in `public`.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO meed_owner;
GRANT USAGE ON SCHEMA public TO meed_serve;

-- The tables and sequences that the owner creates from now on, in any release.
ALTER DEFAULT PRIVILEGES FOR ROLE meed_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO meed_serve;
ALTER DEFAULT PRIVILEGES FOR ROLE meed_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO meed_serve;

SET ROLE meed_owner;

-- The list of migrations, as `meed migrate` would create it. It exists from here on, so that the serving role never gets
-- the right to change it.
CREATE TABLE IF NOT EXISTS public._sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
    success BOOLEAN NOT NULL,
    checksum BYTEA NOT NULL,
    execution_time BIGINT NOT NULL
);

-- The tables that exist already.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO meed_serve;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO meed_serve;
REVOKE INSERT, UPDATE, DELETE ON public._sqlx_migrations FROM meed_serve;

RESET ROLE;
