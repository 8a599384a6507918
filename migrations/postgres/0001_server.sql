-- What this database knows of itself, by name. `demo` marks a database whose passwords are published. Written by the
-- server's commands.
CREATE TABLE server_metadata (
    name            TEXT NOT NULL PRIMARY KEY,
    value           TEXT NOT NULL,
    set_at          BIGINT NOT NULL
);
