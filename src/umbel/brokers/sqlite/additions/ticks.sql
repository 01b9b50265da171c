-- Schedules: see the facet Ticks. Parameters: none. Run once, in a write transaction. Times are ms.

-- `done`: ticks up to here are dealt with. `origin`: code or runtime.
CREATE TABLE schedule (
    name TEXT PRIMARY KEY,
    rule TEXT NOT NULL,
    definition BLOB NOT NULL,
    origin TEXT NOT NULL,
    revision INTEGER NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL,
    fired INTEGER NOT NULL DEFAULT 0,
    overlapped INTEGER NOT NULL DEFAULT 0,
    missed INTEGER NOT NULL DEFAULT 0,
    last_tick INTEGER NOT NULL DEFAULT 0,
    last_fired INTEGER NOT NULL DEFAULT 0,
    last_id TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

-- Sets of code that were met, numbered in that order.
CREATE TABLE stamp (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- One row: the number that rises with every change of a definition, the set that is in force, and until when it is upheld.
CREATE TABLE ticks (
    revision INTEGER NOT NULL DEFAULT 0,
    stamp TEXT NOT NULL DEFAULT '',
    upheld INTEGER NOT NULL DEFAULT 0
);
INSERT INTO ticks DEFAULT VALUES;
