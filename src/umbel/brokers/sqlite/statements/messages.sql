-- Messages on their way in and out: what an enqueue and an exchange run, once a message.

-- name: queue_by_name
-- A queue's number, and whether it is paused. Parameters: name. Cost: one index look-up.
SELECT id, paused FROM queue WHERE name = ?;

-- name: queue_add
-- Make a queue. Parameters: name. Cost: one insert, once in a queue's life.
INSERT INTO queue (name) VALUES (?) ON CONFLICT (name) DO NOTHING;

-- name: message_add
-- Store a message behind what waits. Parameters: queue, priority, state, due, expires, record, data, flow.
-- Cost: one append and one or two index entries.
INSERT INTO message (queue, priority, state, due, expires, record, data, flow) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: known_add
-- Remember an explicit id; changes no row if it is remembered already. Parameters: id, until, now. Cost: one look-up, one insert.
INSERT INTO known (id, until) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET until = excluded.until WHERE known.until <= ?;

-- name: ready
-- The next messages of a queue in the order of claiming. Parameters: queue, limit. Cost: the limit, whatever waits behind.
SELECT pos, priority, expires, handed, record, data, flow FROM message
WHERE state = 0 AND queue = ? ORDER BY priority DESC, pos LIMIT ?;

-- name: any_ready
-- Is a message of this queue ready? Parameters: queue. Cost: one index look-up.
SELECT 1 FROM message WHERE state = 0 AND queue = ? LIMIT 1;

-- name: lease
-- Hand out a run of messages whose slots rise with their places. Parameters: holder, slot of the first less its pos, first pos, last pos.
-- Cost: each row, out of one index and into another; half of what one statement a row costs.
UPDATE message SET state = 2, holder = ?, slot = ? + pos, handed = handed + 1 WHERE pos BETWEEN ? AND ?;

-- name: next_due
-- When the first scheduled message of a queue is due. Parameters: queue. Cost: one index look-up.
SELECT due FROM message WHERE state = 1 AND queue = ? ORDER BY due LIMIT 1;

-- name: due
-- Scheduled messages of a queue that are due, in the order of their times. Parameters: queue, now, limit. Cost: the limit.
SELECT pos, priority, expires, handed, record, data, flow FROM message
WHERE state = 1 AND queue = ? AND due <= ? ORDER BY due, pos LIMIT ?;

-- name: last_pos
-- The last place taken. Cost: one look-up.
SELECT coalesce(max(pos), 0) FROM message;

-- name: promote
-- Make a scheduled message ready, at a new place. Parameters: new pos, pos. Cost: the row moves.
UPDATE message SET pos = ?, state = 0, due = 0 WHERE pos = ?;

-- name: held
-- What a holder holds, by slot. Parameters: holder. Cost: what it holds.
SELECT slot, pos, record, flow FROM message WHERE state = 2 AND holder = ?;

-- name: held_one
-- One delivery. Parameters: holder, slot. Cost: one look-up.
SELECT slot, pos, record, flow FROM message WHERE state = 2 AND holder = ? AND slot = ?;

-- name: holds_any
-- Does a holder hold anything? Parameters: holder. Cost: one look-up.
SELECT 1 FROM message WHERE state = 2 AND holder = ? LIMIT 1;

-- name: held_data
-- Deliveries of a holder with their bytes, in the order of their receipts. Parameters: holder, first slot, last slot. Cost: their number.
SELECT m.slot, m.handed, m.data, q.name FROM message m JOIN queue q ON q.id = m.queue
WHERE m.state = 2 AND m.holder = ? AND m.slot BETWEEN ? AND ? ORDER BY m.slot;

-- name: held_rows
-- All of a holder's deliveries as rows, in the order of their receipts. Parameters: holder. Cost: their number.
SELECT m.pos, m.queue, q.name, m.priority, m.handed, m.record, m.data, m.slot, m.flow FROM message m JOIN queue q ON q.id = m.queue
WHERE m.state = 2 AND m.holder = ? ORDER BY m.slot;

-- name: row
-- One message. Parameters: pos. Cost: one look-up.
SELECT m.pos, m.queue, q.name, m.priority, m.handed, m.record, m.data, m.slot, m.flow FROM message m JOIN queue q ON q.id = m.queue
WHERE m.pos = ?;

-- name: remove
-- Take a message out. Parameters: pos. Cost: one row and its index entries.
DELETE FROM message WHERE pos = ?;

-- name: remove_run
-- Take out messages that stand side by side. Parameters: first pos, last pos. Cost: each row and its index entries.
DELETE FROM message WHERE pos BETWEEN ? AND ?;

-- name: put_back
-- Make a leased message ready again, in its old place, which is in front. Parameters: pos. Cost: one row.
UPDATE message SET state = 0, holder = NULL, slot = NULL WHERE pos = ?;

-- name: put_off
-- Make a leased message due later. Parameters: due, pos. Cost: one row.
UPDATE message SET state = 1, due = ?, holder = NULL, slot = NULL WHERE pos = ?;

-- name: rewrite
-- Write changed counters, which count all hand-overs now. Parameters: data, pos. Cost: one row.
UPDATE message SET data = ?, handed = 0 WHERE pos = ?;

-- name: bury
-- Add a dead letter. Parameters: queue, priority, id, died, reason, error, data, flow. Cost: one row, three index entries, the tally.
INSERT INTO dead (queue, priority, id, died, reason, error, data, flow) VALUES (?, ?, ?, ?, ?, ?, ?, ?);
