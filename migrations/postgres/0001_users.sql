-- Accounts, their sessions and their attributes.
CREATE TABLE users (
    id              UUID NOT NULL PRIMARY KEY,
    email           TEXT NOT NULL,
    -- lower-cased; what makes an account unique
    email_key       TEXT NOT NULL UNIQUE,
    password_hash   TEXT NOT NULL,
    role            TEXT NOT NULL CHECK (role IN ('USER', 'OPERATOR', 'AUDITOR', 'ADMIN')),
    invite_code     TEXT NOT NULL UNIQUE,
    invited_by      UUID REFERENCES users (id) CHECK (invited_by <> id),
    disabled        BOOLEAN NOT NULL,
    created_at      BIGINT NOT NULL
);
CREATE INDEX users_invited_by ON users (invited_by);

-- A session is one login and the family of refresh tokens that grew from it.
CREATE TABLE sessions (
    id              UUID NOT NULL PRIMARY KEY,
    user_id         UUID NOT NULL REFERENCES users (id),
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    ended_at        BIGINT,
    ended_reason    TEXT CHECK (ended_reason IN ('LOGOUT', 'REFRESH_REUSED', 'USER_DISABLED', 'ROLE_CHANGED'))
);
CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE refresh_tokens (
    -- SHA-256 of the token; the token itself is never stored
    hash            BYTEA NOT NULL PRIMARY KEY,
    session_id      UUID NOT NULL REFERENCES sessions (id),
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    consumed_at     BIGINT
);
-- At most one live token in a family.
CREATE UNIQUE INDEX refresh_tokens_live ON refresh_tokens (session_id) WHERE consumed_at IS NULL;

-- Append-only: the value at an instant is the latest row at or before it. A NULL value removes the attribute.
CREATE TABLE user_attributes (
    id              UUID NOT NULL PRIMARY KEY,
    user_id         UUID NOT NULL REFERENCES users (id),
    name            TEXT NOT NULL,
    value           TEXT,
    set_at          BIGINT NOT NULL,
    set_by          UUID REFERENCES users (id)
);
CREATE INDEX user_attributes_latest ON user_attributes (user_id, name, set_at, id);

-- What the server knows of itself, such as the mark of a demo database.
CREATE TABLE server_marks (
    name            TEXT NOT NULL PRIMARY KEY,
    value           TEXT NOT NULL,
    set_at          BIGINT NOT NULL
);
