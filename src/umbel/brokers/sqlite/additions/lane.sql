-- Lanes, the limits that they stand under, and the keys of unique, debounced and throttled messages. Parameters: none. Run once, in a
-- write transaction.
--
-- Older code works on beside it. It does not see what waits in a lane (state -1, for which it has no index), but its sweep of
-- expired messages and its cancel find it. What it puts back of a newer worker's deliveries becomes plain (state 0) and keeps its
-- mark in `lane`; newer code puts such a one into its lane when it meets it, and sweeps what the older one left in `lane_hold`.

-- NULL: a plain message. 0: it has limits or keys, and stands in no lane now. Else the lane in which it waits.
ALTER TABLE message ADD COLUMN lane INTEGER;
CREATE INDEX message_laned ON message (queue, lane) WHERE state = -1;

-- The numbers that limits follow, packed: declared ones (NULL where none are known), and an operator's (NULL where he said nothing).
CREATE TABLE lane_rule (
    name TEXT PRIMARY KEY,
    declared BLOB,
    override BLOB
) WITHOUT ROWID;

-- One limit of any number of queues. `tat` is the theoretical arrival time of its rate, ms; 0 when that is long over.
CREATE TABLE lane_limit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    rule TEXT NOT NULL,
    tat REAL NOT NULL DEFAULT 0
);
CREATE INDEX lane_limit_tat ON lane_limit (tat) WHERE tat > 0;
CREATE INDEX lane_limit_rule ON lane_limit (rule);

-- Which deliveries stand on a limit: its concurrency is their number.
CREATE TABLE lane_hold (
    holder INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    lim INTEGER NOT NULL,
    PRIMARY KEY (holder, slot, lim)
) WITHOUT ROWID;
CREATE INDEX lane_hold_limit ON lane_hold (lim);

-- The lanes of one queue and priority that share a limit beside their own (`lim`; 0 for those that share none).
-- `shut`: until when its own limit has no room. `opens`: when one of its lanes may be served, never later than that is true.
-- `asked`: when the two were worked out, so that a clock that went back is noticed.
CREATE TABLE lane_group (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    lim INTEGER NOT NULL,
    shut INTEGER NOT NULL DEFAULT 0,
    opens INTEGER NOT NULL DEFAULT 0,
    asked INTEGER NOT NULL DEFAULT 0,
    UNIQUE (queue, priority, lim)
);
CREATE INDEX lane_group_limit ON lane_group (lim);

-- Keys of waiting and running messages: `kind` 0 unique, 1 debounced. `pos` is the message's place, by which a key is freed whatever its
-- bytes are. `starts`: it is free once the message was handed out. `latest`: when a debounced one is due in any case.
CREATE TABLE message_key (
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    pos INTEGER NOT NULL,
    starts INTEGER NOT NULL,
    latest INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE INDEX message_key_pos ON message_key (pos);

-- Keys that are closed for a time, whatever became of the message.
CREATE TABLE throttle_key (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX throttle_key_until ON throttle_key (until);

-- `opens`: 0 it may be served as far as is known, a time from when on, or the far end of time when only a release opens it.
-- `turn` rises with each serving: the lowest was served longest ago. `since`: when it was, or when it
-- was made. A lane that nothing waits in is gone.
CREATE TABLE lane (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    grp INTEGER NOT NULL,
    queue INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    lim INTEGER NOT NULL,
    opens INTEGER NOT NULL DEFAULT 0,
    turn INTEGER NOT NULL,
    since INTEGER NOT NULL,
    UNIQUE (lim, grp)
);
CREATE INDEX lane_ready ON lane (grp, turn) WHERE opens = 0;
CREATE INDEX lane_shut ON lane (grp, opens) WHERE opens > 0;
CREATE INDEX lane_queue ON lane (queue, priority);
INSERT INTO tally VALUES ('lane_turn', 0);
