-- Workers, the holders that they admitted, and what is told to them.

-- name: fence
-- A holder and the end of its worker's lease. Parameters: holder's name. Cost: two look-ups.
SELECT h.id, h.seq, h.verdicts, h.worker, w.expires, w.name FROM holder h JOIN worker w ON w.id = h.worker WHERE h.name = ?;

-- name: sequence
-- Note a holder's exchange, for repeating it. Parameters: seq, verdicts, holder. Cost: one row.
UPDATE holder SET seq = ?, verdicts = ? WHERE id = ?;

-- name: holder_id
-- Parameters: name. Cost: one look-up.
SELECT id FROM holder WHERE name = ?;

-- name: holder_add
-- Admit. Parameters: name, worker. Cost: one row; none if it is admitted already.
INSERT INTO holder (name, worker) VALUES (?, ?) ON CONFLICT (name) DO NOTHING;

-- name: holder_remove
-- Withdraw an admission. Parameters: holder. Cost: one row.
DELETE FROM holder WHERE id = ?;

-- name: holders_of
-- The holders of a worker, by name. Parameters: worker. Cost: their number.
SELECT id, name FROM holder WHERE worker = ? ORDER BY name;

-- name: worker_by_name
-- Parameters: name. Cost: one look-up.
SELECT id, expires FROM worker WHERE name = ?;

-- name: worker_add
-- Make a worker known. Parameters: name, expires, about. Cost: one row.
INSERT INTO worker (name, expires, about) VALUES (?, ?, ?);

-- name: worker_renew
-- Lengthen a lease; an empty description leaves the last one. Parameters: expires, about, about, worker. Cost: one row.
UPDATE worker SET expires = ?, about = CASE WHEN length(?) > 0 THEN ? ELSE about END WHERE id = ?;

-- name: worker_remove
-- Forget a worker. Parameters: worker. Cost: one row.
DELETE FROM worker WHERE id = ?;

-- name: workers_over
-- Workers whose lease has ended, by name. Parameters: now. Cost: the number of workers.
SELECT id, name FROM worker WHERE expires <= ? ORDER BY name;

-- name: workers
-- Every worker, by name. Cost: their number.
SELECT id, name, expires, about FROM worker ORDER BY name;

-- name: gone_add
-- Use up a holder's name. Parameters: holder's name, name of the worker to be told or NULL, now. Cost: one row.
INSERT INTO gone (holder, worker, at) VALUES (?, ?, ?) ON CONFLICT (holder) DO NOTHING;

-- name: gone_is
-- Is a holder's name used up? Parameters: name. Cost: one look-up.
SELECT 1 FROM gone WHERE holder = ?;

-- name: gone_of
-- The newest of a worker's holders that are gone. Parameters: worker's name, limit. Cost: their number.
SELECT holder FROM gone WHERE worker = ? ORDER BY at DESC, holder LIMIT ?;

-- name: gone_untold
-- Tell nobody of a worker's gone holders any more. Parameters: worker's name. Cost: their number.
UPDATE gone SET worker = NULL WHERE worker = ?;

-- name: taken_add
-- Leave the trace of a delivery that was taken away. Parameters: holder, slot. Cost: one row.
INSERT INTO taken (holder, slot) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: taken_is
-- Was it taken away? Parameters: holder, slot. Cost: one look-up.
SELECT 1 FROM taken WHERE holder = ? AND slot = ?;

-- name: taken_prune
-- Forget traces older than a slot. Parameters: holder, slot. Cost: their number.
DELETE FROM taken WHERE holder = ? AND slot < ?;

-- name: taken_clear
-- Forget a holder's traces. Parameters: holder. Cost: their number.
DELETE FROM taken WHERE holder = ?;

-- name: command_add
-- Parameters: worker, verb, message id. Cost: one row.
INSERT INTO command (worker, verb, message) VALUES (?, ?, ?);

-- name: commands_of
-- Parameters: worker. Cost: the number of all commands that wait, mostly none.
SELECT verb, message FROM command WHERE worker = ? ORDER BY id;

-- name: commands_clear
-- Parameters: worker. Cost: as above.
DELETE FROM command WHERE worker = ?;
