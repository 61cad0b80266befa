CREATE TABLE kept (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE conversations (
    conversation TEXT PRIMARY KEY,
    seq          INTEGER NOT NULL,
    rev          INTEGER NOT NULL,
    incarnation  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    conversation TEXT NOT NULL,
    seq          INTEGER NOT NULL,
    rev          INTEGER NOT NULL,
    incarnation  INTEGER NOT NULL,
    frame        TEXT NOT NULL,
    PRIMARY KEY (conversation, seq)
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: the order of writing, even when the last row was taken out before.
CREATE TABLE unsent (
    n                 INTEGER PRIMARY KEY AUTOINCREMENT,
    target            TEXT NOT NULL,
    client_message_id TEXT NOT NULL,
    frame             TEXT NOT NULL,
    UNIQUE (target, client_message_id)
) STRICT;
