-- Limits: their rules, their rates, and who stands on them. Plain messages never come here.

-- name: rule_if_absent
-- The numbers that came with a message, where none are known. Parameters: name, numbers. Cost: one look-up, at times one row.
INSERT INTO lane_rule (name, declared) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET declared = excluded.declared WHERE declared IS NULL;

-- name: rule_declare
-- The numbers that a worker declares. Changes no row that says the same. Parameters: name, numbers. Cost: one row.
INSERT INTO lane_rule (name, declared) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET declared = excluded.declared WHERE declared IS NOT excluded.declared;

-- name: rule_override
-- An operator's numbers, or NULL for none. Parameters: name, numbers. Cost: one row.
INSERT INTO lane_rule (name, override) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET override = excluded.override;

-- name: rule_get
-- Parameters: name. Cost: one look-up.
SELECT declared, override FROM lane_rule WHERE name = ?;

-- name: rules
-- Every rule, by name. Cost: their number.
SELECT name, declared, override FROM lane_rule ORDER BY name;

-- name: limit_id
-- Parameters: name. Cost: one look-up.
SELECT id FROM lane_limit WHERE name = ?;

-- name: limit_add
-- Make a limit. Parameters: name, rule. Cost: one row, two index entries.
INSERT INTO lane_limit (name, rule) VALUES (?, ?);

-- name: limit_get
-- A limit with its rule and how many stand on it. Parameters: limit. Cost: a few look-ups, and that number.
SELECT l.tat, r.declared, r.override, (SELECT count(*) FROM lane_hold h WHERE h.lim = l.id)
FROM lane_limit l LEFT JOIN lane_rule r ON r.name = l.rule WHERE l.id = ?;

-- name: limit_tat
-- Note the state of a rate. Parameters: tat, limit. Cost: one row.
UPDATE lane_limit SET tat = ? WHERE id = ?;

-- name: limit_forget
-- Forget a limit that nobody needs: no rate to remember, nobody on it, no lane under it. Parameters: limit, a tat long over.
-- Cost: a few look-ups.
DELETE FROM lane_limit WHERE id = ? AND tat <= ?
AND NOT EXISTS (SELECT 1 FROM lane_hold h WHERE h.lim = lane_limit.id)
AND NOT EXISTS (SELECT 1 FROM lane n WHERE n.lim = lane_limit.id)
AND NOT EXISTS (SELECT 1 FROM lane_group g WHERE g.lim = lane_limit.id);

-- name: limits_rested
-- Limits whose rate is whole again. Parameters: a tat long over, limit. Cost: the limit.
SELECT id FROM lane_limit WHERE tat > 0 AND tat <= ? LIMIT ?;

-- name: limits_ahead
-- Limits whose rate is used up to some degree. Parameters: now. Cost: their number.
SELECT id FROM lane_limit WHERE tat > 0 AND tat > ?;

-- name: limit_is_held
-- Does anybody stand on it? Parameters: limit. Cost: one look-up.
SELECT 1 FROM lane_hold WHERE lim = ? LIMIT 1;

-- name: hold_add
-- A delivery stands on a limit. Parameters: holder, slot, limit. Cost: one row, one index entry.
INSERT INTO lane_hold (holder, slot, lim) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: holds_of
-- On which limits a delivery stands. Parameters: holder, slot. Cost: their number, two at most.
SELECT lim FROM lane_hold WHERE holder = ? AND slot = ?;

-- name: hold_remove
-- Parameters: holder, slot. Cost: their number.
DELETE FROM lane_hold WHERE holder = ? AND slot = ?;

-- name: holds_left
-- Who stands on limits without holding anything: left by code that knew no lanes. Parameters: limit. Cost: all that stand on limits,
-- with a look-up each.
SELECT holder, slot FROM lane_hold h WHERE NOT EXISTS (
SELECT 1 FROM message m WHERE m.state = 2 AND m.holder = h.holder AND m.slot = h.slot) LIMIT ?;

-- name: rule_forget
-- Forget a rule of which nobody says anything. Parameters: name. Cost: one look-up.
DELETE FROM lane_rule WHERE name = ? AND declared IS NULL AND override IS NULL;

-- name: browse_lanes
-- Lanes in which something waits, of one queue or (NULL) of all, by queue, highest priority, group's and own limit, from a place on.
-- Parameters: queue, queue, queue, queue, priority, priority, group, group, limit, how many. Cost: all lanes, for a sort, and what waits in
-- those that are answered.
SELECT q, paused, priority, name, rule, grp, (SELECT count(*) FROM message m WHERE m.state = -1 AND m.queue = queue AND m.lane = id),
since, lim, shared FROM (
SELECT q.name AS q, q.paused, n.priority, l.name, l.rule, coalesce(s.name, '') AS grp, n.queue, n.id, n.since, n.lim, g.lim AS shared
FROM lane n JOIN queue q ON q.id = n.queue JOIN lane_limit l ON l.id = n.lim JOIN lane_group g ON g.id = n.grp
LEFT JOIN lane_limit s ON s.id = g.lim)
WHERE (? IS NULL OR q = ?) AND (q > ? OR (q = ? AND (priority < ? OR (priority = ? AND (grp > ? OR (grp = ? AND name > ?))))))
ORDER BY q, priority DESC, grp, name LIMIT ?;

-- name: browse_lane
-- One of them. Parameters: queue, priority, limit, group. Cost: a few look-ups, and what waits in it.
SELECT q.name, q.paused, n.priority, l.name, l.rule, coalesce(s.name, ''),
(SELECT count(*) FROM message m WHERE m.state = -1 AND m.queue = n.queue AND m.lane = n.id), n.since, n.lim, g.lim
FROM lane_limit l JOIN lane n ON n.lim = l.id JOIN queue q ON q.id = n.queue JOIN lane_group g ON g.id = n.grp
LEFT JOIN lane_limit s ON s.id = g.lim
WHERE q.name = ? AND n.priority = ? AND l.name = ? AND coalesce(s.name, '') = ?;

-- name: backlog
-- What waits in a queue, in whatever way. Parameters: name. Cost: the number of its entries in three indexes.
SELECT (SELECT count(*) FROM message m WHERE m.state = 0 AND m.queue = q.id)
+ (SELECT count(*) FROM message m WHERE m.state = -1 AND m.queue = q.id)
+ (SELECT count(*) FROM message m WHERE m.state = 1 AND m.queue = q.id) FROM queue q WHERE q.name = ?;
