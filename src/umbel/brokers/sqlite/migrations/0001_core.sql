-- The first schema: queues, messages, who holds them, records, dead letters.
-- Parameters: none. Run once, inside the transaction that also sets user_version.
--
-- Times are ms since 1970. `data` is a packed envelope; beside it stands only what SQL decides on.

CREATE TABLE queue (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    paused INTEGER NOT NULL DEFAULT 0
);

-- The hot table: what is ready (state 0), scheduled (1) or leased (2). Finished messages leave it.
-- `pos` is the order inside a queue and priority. A lease keeps it, so that going back is going in front.
-- `handed` counts hand-overs that `data` does not count yet: a claim never rewrites the envelope.
-- `slot` is (sequence << 20 | index) of the receipt.
CREATE TABLE message (
    pos INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    state INTEGER NOT NULL,
    due INTEGER NOT NULL DEFAULT 0,
    expires INTEGER NOT NULL DEFAULT 0,
    handed INTEGER NOT NULL DEFAULT 0,
    holder INTEGER,
    slot INTEGER,
    record INTEGER,
    data BLOB NOT NULL
);

CREATE INDEX message_ready ON message (queue, priority DESC) WHERE state = 0;
CREATE INDEX message_scheduled ON message (queue, due) WHERE state = 1;
CREATE INDEX message_leased ON message (holder, slot) WHERE state = 2;
CREATE INDEX message_expiring ON message (expires) WHERE expires > 0 AND state < 2;
CREATE INDEX message_tracked ON message (record) WHERE record IS NOT NULL;

CREATE TABLE worker (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    expires INTEGER NOT NULL,
    about BLOB NOT NULL
);

-- `verdicts` are those of exchange `seq`, one letter each: what repeating it answers.
CREATE TABLE holder (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    worker INTEGER NOT NULL,
    seq INTEGER NOT NULL DEFAULT 0,
    verdicts TEXT NOT NULL DEFAULT ''
);
CREATE INDEX holder_worker ON holder (worker);

-- Names that were used up, and the worker that is told so (NULL: nobody).
CREATE TABLE gone (
    holder TEXT PRIMARY KEY,
    worker TEXT,
    at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX gone_worker ON gone (worker) WHERE worker IS NOT NULL;
CREATE INDEX gone_at ON gone (at);

-- Receipts of live holders that somebody else ended: the trace that tells superseded from absent.
CREATE TABLE taken (
    holder INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    PRIMARY KEY (holder, slot)
) WITHOUT ROWID;

CREATE TABLE command (
    id INTEGER PRIMARY KEY,
    worker INTEGER NOT NULL,
    verb TEXT NOT NULL,
    message TEXT NOT NULL
);

-- AUTOINCREMENT: a number in `message.record` must never come to mean another record.
CREATE TABLE record (
    num INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    queue TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    progress BLOB NOT NULL DEFAULT x'',
    result BLOB,
    error BLOB NOT NULL DEFAULT x'',
    reason TEXT NOT NULL DEFAULT '',
    enqueued INTEGER NOT NULL,
    started INTEGER NOT NULL DEFAULT 0,
    finished INTEGER NOT NULL DEFAULT 0,
    ttl INTEGER NOT NULL,
    ends INTEGER
);
CREATE INDEX record_ends ON record (ends) WHERE ends IS NOT NULL;

-- Explicit ids, remembered so that a second message with one is found out.
CREATE TABLE known (
    id TEXT PRIMARY KEY,
    until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX known_until ON known (until);

CREATE TABLE dead (
    pos INTEGER PRIMARY KEY AUTOINCREMENT,
    queue INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    id TEXT NOT NULL,
    died INTEGER NOT NULL,
    reason TEXT NOT NULL,
    error BLOB NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX dead_queue ON dead (queue);
CREATE INDEX dead_id ON dead (id);
CREATE INDEX dead_died ON dead (died);

-- What would be slow to add up each time; kept by triggers, so that it cannot drift.
CREATE TABLE tally (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO tally VALUES ('dead_bytes', 0);

CREATE TRIGGER dead_added AFTER INSERT ON dead BEGIN
    UPDATE tally SET value = value + length(NEW.data) + length(NEW.error) WHERE name = 'dead_bytes';
END;

CREATE TRIGGER dead_removed AFTER DELETE ON dead BEGIN
    UPDATE tally SET value = value - length(OLD.data) - length(OLD.error) WHERE name = 'dead_bytes';
END;
