-- Schedules, and the sets of code that declare them.

-- name: ticks_state
-- Revision, stamp in force, until when it is upheld. Cost: one row.
SELECT revision, stamp, upheld FROM ticks;

-- name: ticks_revision
-- What a heartbeat answers with. Cost: one row.
SELECT revision FROM ticks;

-- name: ticks_rise
-- A definition changes. Answers the new revision. Cost: one row.
UPDATE ticks SET revision = revision + 1 RETURNING revision;

-- name: ticks_in_force
-- Parameters: stamp, until when it is upheld. Cost: one row.
UPDATE ticks SET stamp = ?, upheld = ?;

-- name: stamp_number
-- Parameters: stamp. Cost: one look-up.
SELECT number FROM stamp WHERE name = ?;

-- name: stamp_add
-- Parameters: stamp. Cost: one row.
INSERT INTO stamp (number, name) SELECT coalesce(max(number), 0) + 1, ? FROM stamp;

-- name: stamp_prune
-- Forget all but the newest. Parameters: how many to keep. Cost: their number.
DELETE FROM stamp WHERE number NOT IN (SELECT number FROM stamp ORDER BY number DESC LIMIT ?);

-- name: schedules
-- All, by name. Cost: their number.
SELECT name, rule, definition, origin, revision, paused, done, fired, overlapped, missed, last_tick, last_fired, last_id
FROM schedule ORDER BY name;

-- name: schedule_one
-- Parameters: name. Cost: one look-up.
SELECT name, rule, definition, origin, revision, paused, done, fired, overlapped, missed, last_tick, last_fired, last_id
FROM schedule WHERE name = ?;

-- name: schedules_of_code
-- Names. Cost: the number of all.
SELECT name FROM schedule WHERE origin = 'code';

-- name: schedule_write
-- Make one, or change its definition. Parameters: name, rule, definition, origin, revision, done. Cost: one row.
INSERT INTO schedule (name, rule, definition, origin, revision, done) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET rule = excluded.rule, definition = excluded.definition, revision = excluded.revision, done = excluded.done;

-- name: schedule_remove
-- Parameters: name. Cost: one row.
DELETE FROM schedule WHERE name = ?;

-- name: schedule_pause
-- Parameters: paused, done, revision, name. Cost: one row.
UPDATE schedule SET paused = ?, done = ?, revision = ? WHERE name = ?;

-- name: schedule_pass
-- Move on without a message. Parameters: tick, missed, 1 if it is skipped for overlapping, name. Cost: one row.
UPDATE schedule SET done = ?, missed = missed + ?, overlapped = overlapped + ? WHERE name = ?;

-- name: schedule_fired
-- Parameters: tick, missed, tick, now, id, name. Cost: one row.
UPDATE schedule SET done = ?, missed = missed + ?, fired = fired + 1, last_tick = ?, last_fired = ?, last_id = ? WHERE name = ?;
