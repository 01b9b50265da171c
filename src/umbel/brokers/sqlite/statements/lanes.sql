-- Lanes and their groups: entering, being served, opening and shutting. Plain messages never come here.

-- name: lane_by_names
-- A lane. Parameters: limit's name, queue, priority, the group's limit (0: none). Cost: a few look-ups.
SELECT n.id FROM lane_limit l JOIN lane n ON n.lim = l.id JOIN lane_group g ON g.id = n.grp
WHERE l.name = ? AND g.queue = ? AND g.priority = ? AND g.lim = ?;

-- name: lane_add
-- Make a lane, behind those that wait for their turn. Parameters: group, queue, priority, limit, turn, now. Cost: one row, and its
-- index entries.
INSERT INTO lane (grp, queue, priority, lim, turn, since) VALUES (?, ?, ?, ?, ?, ?);

-- name: lane_enter
-- A message that stands in the hot table waits in a lane, where its place says. Parameters: lane, pos. Cost: one row.
UPDATE message SET state = -1, lane = ?, due = 0, holder = NULL, slot = NULL WHERE pos = ?;

-- name: lane_heads
-- The next two of a lane. Parameters: queue, lane. Cost: two rows, whatever waits behind.
SELECT pos, expires, handed, record, data FROM message WHERE state = -1 AND queue = ? AND lane = ? ORDER BY pos LIMIT 2;

-- name: lane_lease
-- Hand one out. Parameters: holder, slot, pos. Cost: one row, out of one index and into another.
UPDATE message SET state = 2, lane = 0, holder = ?, slot = ?, handed = handed + 1 WHERE pos = ?;

-- name: lane_turn
-- A lane was served. Parameters: turn, now, opens, lane. Cost: one row.
UPDATE lane SET turn = ?, since = ?, opens = ? WHERE id = ?;

-- name: lane_shut
-- A lane has no room until a moment. Parameters: opens, lane. Cost: one row.
UPDATE lane SET opens = ? WHERE id = ?;

-- name: lane_get
-- Parameters: lane. Cost: one look-up.
SELECT queue, lim, grp FROM lane WHERE id = ?;

-- name: lane_remove
-- Parameters: lane. Cost: one row.
DELETE FROM lane WHERE id = ?;

-- name: lane_has_any
-- Does anything wait in a lane? Parameters: queue, lane. Cost: one look-up.
SELECT 1 FROM message WHERE state = -1 AND queue = ? AND lane = ? LIMIT 1;

-- name: limit_has_lane
-- Does anything wait in any lane of a limit? Parameters: limit. Cost: one look-up.
SELECT 1 FROM lane WHERE lim = ? LIMIT 1;

-- name: lanes_ready
-- The lanes of a group that may be served, longest waiting turn first. Parameters: group, limit. Cost: the limit.
SELECT id, lim, turn FROM lane WHERE grp = ? AND opens = 0 ORDER BY turn LIMIT ?;

-- name: lanes_looked_at
-- The same, with those whose time has come. Parameters: group, now, limit. Cost: the lanes of the group that may be served, for a sort.
SELECT id, lim, turn FROM lane WHERE grp = ? AND opens <= ? ORDER BY turn LIMIT ?;

-- name: lanes_ripen
-- Lanes whose time has come may be served. Parameters: group, now, limit. Cost: the limit.
UPDATE lane SET opens = 0 WHERE id IN (SELECT id FROM lane WHERE grp = ? AND opens > 0 AND opens <= ? ORDER BY opens LIMIT ?);

-- name: lanes_reopen
-- The clock went back: what waits for a moment is looked at anew. Parameters: the far end of time. Cost: all shut lanes.
UPDATE lane SET opens = 0 WHERE opens > 0 AND opens < ?;

-- name: groups_reopen
-- The same for groups. Parameters: now. Cost: all groups: as many as queues have priorities and tasks with limits, and one for each.
UPDATE lane_group SET shut = 0, opens = 0, asked = ?;

-- name: groups_of_the_future
-- Was a group looked at when the clock was ahead of now? Parameters: now. Cost: all groups.
SELECT 1 FROM lane_group WHERE asked > ? LIMIT 1;

-- name: lanes_open
-- A limit may have room: its shut lanes are looked at anew. Parameters: limit. Cost: its lanes, one for each queue, priority and group.
UPDATE lane SET opens = 0 WHERE lim = ? AND opens > 0 RETURNING grp;

-- name: lanes_of_rule_open
-- A rule has changed. Parameters: rule. Cost: the shut lanes of all its limits.
UPDATE lane SET opens = 0 WHERE opens > 0 AND lim IN (SELECT id FROM lane_limit WHERE rule = ?);

-- name: lanes_first
-- When the first lane of a group opens. Parameters: group, group. Cost: two look-ups.
SELECT coalesce((SELECT 0 FROM lane WHERE grp = ? AND opens = 0 LIMIT 1),
(SELECT opens FROM lane WHERE grp = ? AND opens > 0 ORDER BY opens LIMIT 1));

-- name: group_id
-- Parameters: queue, priority, limit (0: none). Cost: one look-up.
SELECT id FROM lane_group WHERE queue = ? AND priority = ? AND lim = ?;

-- name: group_add
-- Parameters: queue, priority, limit (0: none), now. Cost: one row, two index entries.
INSERT INTO lane_group (queue, priority, lim, asked) VALUES (?, ?, ?, ?);

-- name: group_stirs
-- A lane of the group opened. Parameters: group. Cost: one row.
UPDATE lane_group SET opens = shut WHERE id = ? AND opens > shut;

-- name: groups_open
-- A group's own limit may have room. Parameters: limit. Cost: its groups, one for each queue and priority.
UPDATE lane_group SET shut = 0, opens = 0 WHERE lim = ? AND opens > 0;

-- name: groups_of_rule_open
-- A rule has changed. Parameters: rule, rule. Cost: all groups, and the limits of the rule with a look-up each.
UPDATE lane_group SET shut = 0, opens = 0 WHERE opens > 0 AND (lim IN (SELECT id FROM lane_limit WHERE rule = ?)
OR id IN (SELECT n.grp FROM lane n JOIN lane_limit l ON l.id = n.lim WHERE l.rule = ?));

-- name: group_note
-- What a claim found. Parameters: shut, opens, now, group. Cost: one row.
UPDATE lane_group SET shut = ?, opens = ?, asked = ? WHERE id = ?;

-- name: group_remove
-- Forget a group without lanes. Parameters: group. Cost: one look-up. Answers with its limit.
DELETE FROM lane_group WHERE id = ? AND NOT EXISTS (SELECT 1 FROM lane n WHERE n.grp = lane_group.id) RETURNING lim;

-- name: groups_ready
-- The groups of a queue and priority of which a lane may be served. Parameters: queue, priority, now, now. Cost: the groups of that
-- queue and priority: as many as tasks with limits of their own, and one.
SELECT id, lim, asked FROM lane_group WHERE queue = ? AND priority = ? AND (opens <= ? OR asked > ?);

-- name: lanes_priority
-- The next priority of a queue in which a lane may be served. Parameters: queue, priority, now, now. Cost: the groups of the queue.
SELECT max(priority) FROM lane_group WHERE queue = ? AND priority < ? AND (opens <= ? OR asked > ?);

-- name: lanes_soonest
-- When the next lane of a queue opens by time. Parameters: queue, now, the far end of time. Cost: the groups of the queue.
SELECT min(opens) FROM lane_group WHERE queue = ? AND opens > ? AND opens < ?;

-- name: turn_get
-- The last turn given. Cost: one look-up.
SELECT value FROM tally WHERE name = 'lane_turn';

-- name: turn_keep
-- Turns up to this one were given. Parameters: the last one. Cost: one row.
UPDATE tally SET value = max(value, ?) WHERE name = 'lane_turn';

-- name: turn_next
-- Parameters: how many. Answers with the last one. Cost: one row.
UPDATE tally SET value = value + ? WHERE name = 'lane_turn' RETURNING value;
