-- What an operator looks at. None of these is run by workers.

-- name: browse_ready
-- A queue in the order of claiming, from a place on. Parameters: queue, priority, priority, pos, limit. Cost: the limit, and what
-- stands at the same priority before the place.
SELECT priority, pos, handed, data FROM message
WHERE state = 0 AND queue = ? AND (priority < ? OR (priority = ? AND pos > ?)) ORDER BY priority DESC, pos LIMIT ?;

-- name: browse_scheduled
-- By due time, of one queue or (NULL) of all. Parameters: queue, queue, due, due, pos, limit. Cost: all that is scheduled, for a sort.
SELECT m.pos, m.due, m.handed, m.data, q.name FROM message m JOIN queue q ON q.id = m.queue
WHERE m.state = 1 AND (? IS NULL OR m.queue = ?) AND (m.due > ? OR (m.due = ? AND m.pos > ?)) ORDER BY m.due, m.pos LIMIT ?;

-- name: browse_leased
-- By holder's name and slot. Parameters: queue, queue, name, name, slot, limit. Cost: all that is leased, for a sort.
SELECT m.slot, h.name, w.name, m.handed, m.data, q.name FROM message m JOIN queue q ON q.id = m.queue
JOIN holder h ON h.id = m.holder JOIN worker w ON w.id = h.worker
WHERE m.state = 2 AND (? IS NULL OR m.queue = ?) AND (h.name > ? OR (h.name = ? AND m.slot > ?)) ORDER BY h.name, m.slot LIMIT ?;

-- name: browse_dead
-- Newest first. Parameters: queue, queue, pos, limit. Cost: the limit, and what lies between in other queues.
SELECT d.pos, d.died, d.reason, d.error, d.data, q.name FROM dead d JOIN queue q ON q.id = d.queue
WHERE (? IS NULL OR d.queue = ?) AND d.pos < ? ORDER BY d.pos DESC LIMIT ?;

-- name: standing
-- Where one message stands. Parameters: pos. Cost: a few look-ups.
SELECT m.state, m.due, m.handed, m.data, q.name, h.name, w.name, w.id FROM message m JOIN queue q ON q.id = m.queue
LEFT JOIN holder h ON h.id = m.holder LEFT JOIN worker w ON w.id = h.worker WHERE m.pos = ?;

-- name: places_tracked
-- Where the messages of a record stand, waiting ones first. Parameters: id. Cost: a few look-ups.
SELECT m.pos FROM message m JOIN record r ON m.record = r.num WHERE r.id = ? ORDER BY m.state;

-- name: places_plain
-- Where a message may stand whose packed bytes begin with such an id, waiting ones first. Parameters: the packed id.
-- Cost: the head of every message is read.
SELECT pos FROM message WHERE record IS NULL AND instr(substr(data, 1, 400), ?) > 0 ORDER BY state, pos;

-- name: dead_by_id
-- Parameters: id. Cost: one look-up.
SELECT d.pos, d.died, d.reason, d.error, d.data, q.name FROM dead d JOIN queue q ON q.id = d.queue
WHERE d.id = ? ORDER BY d.pos DESC LIMIT 1;

-- name: letters_by_id
-- Dead letters of an id, of one queue or (NULL) of any. Parameters: id, queue, queue. Cost: their number.
SELECT pos, queue, priority, data, flow FROM dead WHERE id = ? AND (? IS NULL OR queue = ?) ORDER BY pos;

-- name: letters
-- Some dead letters after a place, of one queue or (NULL) of any, oldest first. Parameters: pos, queue, queue, limit. Cost: the limit,
-- and what lies between in other queues.
SELECT pos, queue, priority, data, flow FROM dead WHERE pos > ? AND (? IS NULL OR queue = ?) ORDER BY pos LIMIT ?;

-- name: pause
-- Parameters: paused (0 or 1), name. Cost: one row.
UPDATE queue SET paused = ? WHERE name = ?;

-- name: queue_name
-- Parameters: queue. Cost: one look-up.
SELECT name FROM queue WHERE id = ?;
