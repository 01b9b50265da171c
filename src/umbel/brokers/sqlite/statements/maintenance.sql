-- What maintenance, purges and counts run; every removal is bounded by a limit.

-- name: queues
-- Every queue, by name. Cost: their number.
SELECT id, name, paused FROM queue ORDER BY name;

-- name: expired
-- Waiting messages whose expiry is over. Parameters: now, limit. Cost: the limit.
SELECT m.pos, m.queue, q.name, m.priority, m.handed, m.record, m.data, m.slot, m.flow FROM message m JOIN queue q ON q.id = m.queue
WHERE m.expires > 0 AND m.state < 2 AND m.expires <= ? LIMIT ?;

-- name: prune_records
-- Parameters: now, limit. Cost: the limit.
DELETE FROM record WHERE num IN (SELECT num FROM record WHERE ends IS NOT NULL AND ends <= ? LIMIT ?);

-- name: prune_known
-- Parameters: now, limit. Cost: the limit.
DELETE FROM known WHERE id IN (SELECT id FROM known WHERE until <= ? LIMIT ?);

-- name: prune_dead
-- Those that a flow which is not finished may still need stay. Parameters: died at or before, limit. Cost: the limit, and those.
DELETE FROM dead WHERE pos IN (SELECT d.pos FROM dead d WHERE d.died <= ?
AND NOT EXISTS (SELECT 1 FROM flow f WHERE f.num = d.flow AND f.finished = 0 AND f.gone = 0) LIMIT ?);

-- name: prune_gone
-- Parameters: gone at or before, limit. Cost: the limit.
DELETE FROM gone WHERE holder IN (SELECT holder FROM gone WHERE at <= ? LIMIT ?);

-- name: dead_bytes
-- The room that dead letters take. Cost: one look-up.
SELECT value FROM tally WHERE name = 'dead_bytes';

-- name: dead_oldest
-- The oldest dead letters and their sizes, without those that a flow may still need. Parameters: limit. Cost: the limit, and those.
SELECT d.pos, length(d.data) + length(d.error) FROM dead d
WHERE NOT EXISTS (SELECT 1 FROM flow f WHERE f.num = d.flow AND f.finished = 0 AND f.gone = 0) ORDER BY d.pos LIMIT ?;

-- name: dead_remove
-- Parameters: pos. Cost: one row.
DELETE FROM dead WHERE pos = ?;

-- name: waiting_of
-- Some of what waits in a queue. Parameters: queue, queue, limit. Cost: the limit.
SELECT pos, record, flow FROM message WHERE state = 0 AND queue = ?
UNION ALL SELECT pos, record, flow FROM message WHERE state = 1 AND queue = ? LIMIT ?;

-- name: count_ready
-- Parameters: queue. Cost: the number of its entries in the index.
SELECT count(*) FROM message WHERE state = 0 AND queue = ?;

-- name: count_scheduled
-- Parameters: queue. Cost: as above.
SELECT count(*) FROM message WHERE state = 1 AND queue = ?;

-- name: count_leased
-- By queue. Cost: the number of leased messages.
SELECT queue, count(*) FROM message WHERE state = 2 GROUP BY queue;

-- name: count_dead
-- By queue. Cost: the number of dead letters.
SELECT queue, count(*) FROM dead GROUP BY queue;

-- name: oldest
-- The earliest time of enqueuing among the first of a queue and priority, as the envelope packs it.
-- Parameters: queue, priority, limit. Cost: the limit.
SELECT min(stamp) FROM (
SELECT substr(data, 18, 8) AS stamp FROM message
WHERE state = 0 AND queue = ? AND priority = ? AND substr(data, 1, 1) = x'01' AND length(data) > 41 ORDER BY pos LIMIT ?);

-- name: priority_below
-- The next priority that has something ready. Parameters: queue, priority. Cost: one look-up.
SELECT priority FROM message WHERE state = 0 AND queue = ? AND priority < ? ORDER BY priority DESC LIMIT 1;
