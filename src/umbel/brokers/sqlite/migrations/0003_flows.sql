-- Flows: nodes that wait for each other, their messages while they are in no queue, and the values that are kept.
-- Parameters: none. Run once, inside the transaction that also sets user_version.
--
-- Times are ms since 1970. A node's `state` and words are numbers: see brokers/sqlite/flows.py.

-- The flow that a message or a dead letter is of; NULL for nearly all.
ALTER TABLE message ADD COLUMN flow INTEGER;
ALTER TABLE dead ADD COLUMN flow INTEGER;
CREATE INDEX message_flow ON message (flow) WHERE flow IS NOT NULL;
CREATE INDEX dead_flow ON dead (flow) WHERE flow IS NOT NULL;

-- AUTOINCREMENT: a number in `message.flow` must never come to mean another flow. `ttl`, `record_ttl`, `failed_ttl` are seconds.
-- `open`: its producer may add. `ended`: how it was ended from outside. `speaking`: numbers of nodes, 8 bytes each, whose edges have not said all
-- yet. `ends`: until when it is kept. `busy`: maintenance has to go on with it. `gone`: it was forgotten, and its nodes are being deleted.
CREATE TABLE flow (
    num INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL,
    result BLOB NOT NULL,
    on_error TEXT NOT NULL,
    ttl REAL,
    handler_queue TEXT,
    handler_due INTEGER,
    handler_after INTEGER,
    handler BLOB,
    created INTEGER NOT NULL,
    record_ttl REAL NOT NULL,
    failed_ttl REAL NOT NULL,
    touched INTEGER NOT NULL,
    open INTEGER NOT NULL DEFAULT 1,
    ended TEXT,
    waits INTEGER NOT NULL DEFAULT 0,
    moving INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    abandoned INTEGER NOT NULL DEFAULT 0,
    stopped INTEGER NOT NULL DEFAULT 0,
    told INTEGER NOT NULL DEFAULT 0,
    first_number INTEGER,
    first_id TEXT NOT NULL DEFAULT '',
    first_reason TEXT NOT NULL DEFAULT '',
    first_error BLOB NOT NULL DEFAULT x'',
    finished INTEGER NOT NULL DEFAULT 0,
    speaking BLOB NOT NULL DEFAULT x'',
    ends INTEGER NOT NULL DEFAULT 0,
    busy INTEGER NOT NULL DEFAULT 0,
    gone INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX flow_open ON flow (touched) WHERE open = 1;
CREATE INDEX flow_ends ON flow (ends) WHERE ends > 0;
CREATE INDEX flow_busy ON flow (num) WHERE busy = 1;
CREATE INDEX flow_gone ON flow (num) WHERE gone = 1;

-- `missing`: arrivals that it still waits for. `followers`: first and last of each range, 8 bytes each.
CREATE TABLE node (
    num INTEGER PRIMARY KEY,
    flow INTEGER NOT NULL,
    number INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    expires_after INTEGER NOT NULL,
    label TEXT NOT NULL,
    id TEXT NOT NULL,
    state INTEGER NOT NULL,
    nevers INTEGER NOT NULL,
    said INTEGER NOT NULL,
    saying INTEGER NOT NULL,
    spoken INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    reason TEXT NOT NULL,
    followers BLOB NOT NULL,
    UNIQUE (flow, number)
);
CREATE INDEX node_failed ON node (flow, number) WHERE state IN (3, 4);

-- Beside the node, so that an arrival does not write a large message or value anew.
CREATE TABLE node_message (
    node INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    due INTEGER NOT NULL,
    after INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE node_value (
    node INTEGER PRIMARY KEY,
    value BLOB NOT NULL
);
