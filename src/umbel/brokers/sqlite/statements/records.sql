-- Records of tracked messages. Plain messages never come here.

-- name: record_begin
-- Begin a record, or begin it anew. Parameters: id, state, queue, attempt, enqueued, ttl. Answers its number. Cost: one row.
INSERT INTO record (id, state, queue, attempt, enqueued, ttl) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, queue = excluded.queue, attempt = excluded.attempt, progress = x'',
result = NULL, error = x'', reason = '', enqueued = excluded.enqueued, started = 0, finished = 0, ttl = excluded.ttl, ends = NULL
RETURNING num;

-- name: record_started
-- Parameters: now, attempt, num. Cost: one row.
UPDATE record SET state = 'STARTED', started = ?, attempt = ? WHERE num = ?;

-- name: record_pending
-- Ready again, or due at last; one that waits for its next attempt stays RETRY. Parameters: num. Cost: one row.
UPDATE record SET state = 'PENDING' WHERE num = ? AND state IN ('STARTED', 'SCHEDULED');

-- name: record_scheduled
-- Parameters: num. Cost: one row.
UPDATE record SET state = 'SCHEDULED' WHERE num = ?;

-- name: record_retry
-- Parameters: attempt, error, num. Cost: one row.
UPDATE record SET state = 'RETRY', attempt = ?, error = ? WHERE num = ?;

-- name: record_end
-- It is final from now on. Parameters: state, result, error, reason, now, now, num. Cost: one row, one index entry.
UPDATE record SET state = ?, result = ?, error = ?, reason = ?, finished = ?, ends = ? + ttl WHERE num = ?;

-- name: record_progress
-- Parameters: progress, num. Cost: one row.
UPDATE record SET progress = ? WHERE num = ?;

-- name: record_get
-- Parameters: id, now. Cost: one look-up.
SELECT id, state, queue, attempt, progress, result, error, reason, enqueued, started, finished FROM record
WHERE id = ? AND (ends IS NULL OR ends > ?);

-- name: record_forget
-- Parameters: id, now. Cost: one row.
DELETE FROM record WHERE id = ? AND ends IS NOT NULL AND ends > ?;
