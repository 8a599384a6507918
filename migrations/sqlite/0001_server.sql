-- Properties of this database, by name. `demo` marks a database whose passwords are published. The server's commands
-- write the rows.
CREATE TABLE server_metadata (
    name            TEXT NOT NULL PRIMARY KEY,
    value           TEXT NOT NULL,
    set_at          INTEGER NOT NULL
) STRICT;
