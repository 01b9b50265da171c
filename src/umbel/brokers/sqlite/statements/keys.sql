-- Keys that let one message stand for several. Plain messages never come here.

-- name: key_owner
-- Who has a key, where that one stands, and what a debounced one must know. A key whose message is gone (removed by code that knew no
-- keys) is nobody's. Parameters: kind, key. Cost: two look-ups.
SELECT k.owner, k.pos, k.latest, m.state, m.data FROM message_key k JOIN message m ON m.pos = k.pos
WHERE k.kind = ? AND k.name = ? AND m.lane IS NOT NULL;

-- name: key_take
-- Parameters: kind, key, owner, pos, starts, latest. Cost: one row, one index entry.
INSERT INTO message_key (kind, name, owner, pos, starts, latest) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (kind, name) DO UPDATE SET owner = excluded.owner, pos = excluded.pos, starts = excluded.starts, latest = excluded.latest;

-- name: key_moved
-- Its message stands elsewhere now. Parameters: new pos, pos. Cost: one look-up, at times one row.
UPDATE message_key SET pos = ? WHERE pos = ?;

-- name: key_begun
-- Its message was handed out. Parameters: pos. Cost: as above.
DELETE FROM message_key WHERE pos = ? AND starts = 1;

-- name: key_free
-- Its message has ended. Parameters: pos. Cost: as above.
DELETE FROM message_key WHERE pos = ?;

-- name: debounce_again
-- A later call's bytes. Parameters: data, expires, pos. Cost: one row.
UPDATE message SET data = ?, expires = ? WHERE pos = ?;

-- name: debounce_due
-- Due anew, if it is still scheduled. Parameters: due, pos. Cost: one row.
UPDATE message SET due = ? WHERE pos = ? AND state = 1;

-- name: throttle_owner
-- Who closed a key, if it is still closed. Parameters: key, now. Cost: one look-up.
SELECT owner FROM throttle_key WHERE name = ? AND until > ?;

-- name: throttle_take
-- Parameters: key, owner, until. Cost: one row.
INSERT INTO throttle_key (name, owner, until) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until;

-- name: throttle_prune
-- Forget keys that are open again. Parameters: now, limit. Cost: the limit.
DELETE FROM throttle_key WHERE name IN (SELECT name FROM throttle_key WHERE until <= ? LIMIT ?);
