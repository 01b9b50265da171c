-- Who serves which queue.

-- name: served_say
-- Note that a queue is served now. Parameters: queue, now. Cost: one row.
INSERT INTO served (queue, said) VALUES (?, ?) ON CONFLICT (queue) DO UPDATE SET said = excluded.said;

-- name: serves_add
-- Parameters: queue, worker's name. Cost: one row; none if it is known.
INSERT INTO serves (queue, worker) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: serves_of
-- What a worker said that it serves. Parameters: worker's name. Cost: the rows of all workers.
SELECT queue FROM serves WHERE worker = ?;

-- name: serves_remove
-- Parameters: queue, worker's name. Cost: one row.
DELETE FROM serves WHERE queue = ? AND worker = ?;

-- name: serves_sweep
-- Forget the word of workers that are no more. Cost: the rows of all workers, and a look-up for each.
DELETE FROM serves WHERE NOT EXISTS (SELECT 1 FROM worker w WHERE w.name = serves.worker);

-- name: served
-- Each queue: does a live worker serve it, does anything wait in it, is it paused? Parameters: now.
-- Cost: the rows of all workers, and a few look-ups for each queue.
SELECT s.queue,
EXISTS (SELECT 1 FROM serves w JOIN worker l ON l.name = w.worker WHERE w.queue = s.queue AND l.expires > ?),
EXISTS (SELECT 1 FROM message m WHERE m.queue = q.id AND m.state = 0)
OR EXISTS (SELECT 1 FROM message m WHERE m.queue = q.id AND m.state = 1)
OR EXISTS (SELECT 1 FROM message m WHERE m.queue = q.id AND m.state = -1),
coalesce(q.paused, 0)
FROM served s LEFT JOIN queue q ON q.name = s.queue ORDER BY s.queue;

-- name: served_over
-- Queues that nobody has served since a moment. Parameters: that moment. Cost: the number of such queues.
SELECT queue FROM served WHERE said <= ?;

-- name: served_remove
-- Forget a queue that nobody serves, if nothing stands in it and it is not paused. Parameters: queue, queue, now, queue.
-- Cost: a few look-ups, and the number of leased messages and dead letters.
DELETE FROM served WHERE queue = ? AND NOT EXISTS (
SELECT 1 FROM serves w JOIN worker l ON l.name = w.worker WHERE w.queue = ? AND l.expires > ?
) AND NOT EXISTS (
SELECT 1 FROM queue q WHERE q.name = ? AND (
q.paused
OR EXISTS (SELECT 1 FROM message m WHERE m.queue = q.id AND m.state = 0)
OR EXISTS (SELECT 1 FROM message m WHERE m.queue = q.id AND m.state = 1)
OR EXISTS (SELECT 1 FROM message m WHERE m.queue = q.id AND m.state = -1)
OR EXISTS (SELECT 1 FROM message m WHERE m.queue = q.id AND m.state = 2)
OR EXISTS (SELECT 1 FROM dead d WHERE d.queue = q.id)));

-- name: serves_clear
-- Parameters: queue. Cost: its rows.
DELETE FROM serves WHERE queue = ?;
