-- One login and the family of refresh tokens that descends from it. Login writes the row; logout, a reused token and
-- changes of the account end it.
CREATE TABLE sessions (
    user_id         UUID NOT NULL REFERENCES users (id),
    id              UUID NOT NULL,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    ended_at        BIGINT,
    ended_reason    TEXT CHECK (ended_reason IN ('LOGOUT', 'REFRESH_REUSED', 'USER_DISABLED', 'ROLE_CHANGED',
                        'PASSWORD_CHANGED', 'SECOND_FACTOR_CHANGED', 'ENDED_BY_USER')),
    -- when its user last proved who they are: at the login, or later for a change of roles or keys
    proved_at       BIGINT NOT NULL DEFAULT 0,
    -- whether with a code of the second factor, too
    second_factor   BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (user_id, id)
);

-- Refresh tokens, each valid for one exchange. Login and refresh write rows; using a token sets `consumed_at`.
CREATE TABLE refresh_tokens (
    user_id         UUID NOT NULL,
    -- SHA-256 of the token; the token itself is never stored
    hash            BYTEA NOT NULL,
    session_id      UUID NOT NULL,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    consumed_at     BIGINT,
    PRIMARY KEY (user_id, hash),
    FOREIGN KEY (user_id, session_id) REFERENCES sessions (user_id, id)
);
-- A session has one usable token at most.
CREATE UNIQUE INDEX refresh_tokens_live ON refresh_tokens (user_id, session_id) WHERE consumed_at IS NULL;
-- A refresh looks up the token alone.
CREATE INDEX refresh_tokens_hash ON refresh_tokens (hash);
-- Expired tokens and sessions are deleted in this order.
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);
CREATE INDEX sessions_expiry ON sessions (expires_at);
