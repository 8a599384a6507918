-- Users. Registration writes the row of an account, which has an e-mail; an upsert writes the row of a user whom other
-- systems know by an external id. An ADMIN changes `role` and `disabled`. Rows are never deleted.
CREATE TABLE users (
    id              BLOB NOT NULL PRIMARY KEY,
    -- as typed at registration; `user_directory` proves that it is unique. NULL: the user cannot log in with a password
    email           TEXT,
    password_hash   TEXT CHECK (password_hash IS NULL OR email IS NOT NULL),
    -- as the systems of the operator know the user; `user_directory` proves that it is unique
    external_id     TEXT,
    role            TEXT NOT NULL CHECK (role IN ('USER', 'OPERATOR', 'AUDITOR', 'ADMIN')),
    -- shown to the user; `user_directory` proves that it is unique. NULL: an external user has none
    invite_code     TEXT,
    -- no foreign key: the inviter may be on another shard
    invited_by      BLOB CHECK (invited_by <> id),
    disabled        INTEGER NOT NULL,
    -- whether its owner must confirm the e-mail before the first login
    email_unconfirmed INTEGER NOT NULL DEFAULT FALSE,
    created_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX users_invited_by ON users (invited_by, created_at);
-- Lists of one role, and the ADMINs that a change of a role locks.
CREATE INDEX users_role ON users (role, id);

-- The names by which a user is found without the id, written in the transaction of the user's row.
-- The primary key proves that a name belongs to one account, on whichever shard the account is.
CREATE TABLE user_directory (
    kind            TEXT NOT NULL CHECK (kind IN ('EMAIL', 'INVITE_CODE', 'EXTERNAL_ID')),
    -- the e-mail in lower case, the invite code, or the external id
    value           TEXT NOT NULL,
    user_id         BLOB NOT NULL,
    PRIMARY KEY (kind, value),
    UNIQUE (user_id, kind)
) STRICT;

-- Attributes of accounts, append-only. The value at an instant is the latest row at or before it; a NULL value removes
-- the attribute. The primary key is also the order in which values follow each other.
CREATE TABLE user_attributes (
    user_id         BLOB NOT NULL REFERENCES users (id),
    name            TEXT NOT NULL,
    set_at          INTEGER NOT NULL,
    id              BLOB NOT NULL,
    value           TEXT,
    -- the principal; NULL: the server
    set_by          BLOB,
    PRIMARY KEY (user_id, name, set_at, id)
) STRICT;

-- Password resets: per user at most one that an ADMIN or the command line permitted, and one of a mail, which anyone can ask
-- for. The owner of a token sets a new password with it, which deletes both rows.
CREATE TABLE password_resets (
    user_id         BLOB NOT NULL REFERENCES users (id),
    by_mail         INTEGER NOT NULL,
    -- SHA-256 of the token; the token itself is never stored
    hash            BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    PRIMARY KEY (user_id, by_mail)
) STRICT;

-- The second factor of an account: time-based codes (RFC 6238). The owner writes the row and confirms it with a code; the
-- owner or an ADMIN deletes it.
CREATE TABLE second_factors (
    user_id         BLOB NOT NULL PRIMARY KEY REFERENCES users (id),
    -- 20 bytes, sealed
    secret          BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    -- NULL: it does not count yet
    confirmed_at    INTEGER,
    -- the 30 seconds of the latest accepted code: a code is accepted once
    last_step       INTEGER NOT NULL
) STRICT;

-- The unused recovery codes of an account, at most ten. Using one deletes it.
CREATE TABLE recovery_codes (
    user_id         BLOB NOT NULL REFERENCES users (id),
    -- SHA-256 of the account and the code; the code itself is never stored
    hash            BLOB NOT NULL,
    PRIMARY KEY (user_id, hash)
) STRICT;

-- The token of a mail that confirms the e-mail of an account, one per user. Using it deletes the row.
CREATE TABLE email_confirmations (
    user_id         BLOB NOT NULL PRIMARY KEY REFERENCES users (id),
    -- SHA-256 of the token; the token itself is never stored
    hash            BLOB NOT NULL,
    expires_at      INTEGER NOT NULL
) STRICT;

-- Mails that someone asked for, to an address that may have no account. Requests write the row; the mail sender makes the
-- text, which is not stored, and sends it. Rows are deleted after a week.
CREATE TABLE mails (
    -- a UUIDv7, so mails are ordered by time
    id              BLOB NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL CHECK (kind IN ('PASSWORD_RESET', 'EMAIL_CONFIRMATION')),
    -- the address in lower case; the mail goes to the address of the account
    email_key       TEXT NOT NULL,
    -- DROPPED: no account needs it. FAILED: refused, or all attempts failed
    state           TEXT NOT NULL CHECK (state IN ('PENDING', 'SENT', 'DROPPED', 'FAILED')),
    attempts        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    -- when a PENDING mail is due; during an attempt, when another process may attempt it
    next_at         INTEGER NOT NULL,
    last_error      TEXT
) STRICT;
CREATE INDEX mails_email_key ON mails (email_key, created_at);
CREATE INDEX mails_due ON mails (next_at) WHERE state = 'PENDING';

-- Users who are to be erased, or were. A request writes the row and disables the account; until the erasure begins, an ADMIN
-- can cancel it, which deletes the row. The row of the user stays without content.
CREATE TABLE user_erasures (
    user_id         BLOB NOT NULL PRIMARY KEY REFERENCES users (id),
    requested_at    INTEGER NOT NULL,
    -- the principal
    requested_by    BLOB NOT NULL,
    -- the end of the grace period
    due_at          INTEGER NOT NULL,
    -- whether the account was disabled before
    was_disabled    INTEGER NOT NULL,
    -- when the names and credentials were erased; NULL: not yet
    begun_at        INTEGER,
    -- when everything was erased; NULL: not yet
    completed_at    INTEGER
) STRICT;
CREATE INDEX user_erasures_due ON user_erasures (due_at) WHERE completed_at IS NULL;
