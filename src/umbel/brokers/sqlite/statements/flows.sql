-- Flows and their nodes. Messages that are of none never come here.

-- name: flow_add
-- Begin a flow; changes no row if there is one of that id. Parameters: id, label, result, on_error, ttl, the handler's queue, due, after and data or
-- NULL, created, record ttl, failed ttl, touched. Cost: one row.
INSERT INTO flow (id, label, result, on_error, ttl, handler_queue, handler_due, handler_after, handler, created, record_ttl, failed_ttl, touched)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING;

-- name: flow_get
-- Parameters: id. Cost: one look-up.
SELECT num, id, label, result, on_error, ttl, handler_queue, handler_due, handler_after, handler, created, record_ttl, failed_ttl, ends, speaking,
touched, open, ended, waits, moving, total, done, failed, abandoned, stopped, told, first_number, first_id, first_reason, first_error, finished
FROM flow WHERE id = ? AND gone = 0;

-- name: flow_set
-- Parameters: touched, open, ended, waits, moving, total, done, failed, abandoned, stopped, told, number, id, reason and error of the first
-- failure, finished, speaking, ends, busy, num. Cost: one row.
UPDATE flow SET touched = ?, open = ?, ended = ?, waits = ?, moving = ?, total = ?, done = ?, failed = ?, abandoned = ?, stopped = ?, told = ?,
first_number = ?, first_id = ?, first_reason = ?, first_error = ?, finished = ?, speaking = ?, ends = ?, busy = ? WHERE num = ?;

-- name: flow_number
-- The number of a flow. Parameters: id. Cost: one look-up.
SELECT num FROM flow WHERE id = ? AND gone = 0;

-- name: flows_page
-- Flows that are kept, newest first, below a number. Parameters: num, now, limit. Cost: the limit, and what lies between.
SELECT num, id FROM flow WHERE num < ? AND gone = 0 AND (ends = 0 OR ends > ?) ORDER BY num DESC LIMIT ?;

-- name: flows_left
-- Open flows that nobody touched since a moment. Parameters: that moment, limit. Cost: the limit.
SELECT id FROM flow WHERE open = 1 AND touched <= ? LIMIT ?;

-- name: flows_busy
-- Parameters: the last number seen, limit. Cost: the limit.
SELECT id, num FROM flow WHERE busy = 1 AND gone = 0 AND num > ? ORDER BY num LIMIT ?;

-- name: flows_over
-- Flows whose time is over. Parameters: now, limit. Cost: the limit.
SELECT num FROM flow WHERE ends > 0 AND ends <= ? AND gone = 0 LIMIT ?;

-- name: flows_gone
-- Flows that are half deleted. Parameters: limit. Cost: the limit.
SELECT num FROM flow WHERE gone = 1 LIMIT ?;

-- name: flow_forget
-- Nobody sees it any more. Parameters: num. Cost: one row.
UPDATE flow SET gone = 1, open = 0, ends = 0, busy = 0 WHERE num = ?;

-- name: flow_remove
-- Parameters: num. Cost: one row.
DELETE FROM flow WHERE num = ?;

-- name: nodes_last
-- The last number given to a node. Cost: one look-up.
SELECT coalesce(max(num), 0) FROM node;

-- name: node_add
-- Parameters: num, flow, number, missing, flags, expires_after, label, id, state, nevers, said, saying, spoken, queued, reason, followers.
-- Cost: one row.
INSERT INTO node (num, flow, number, missing, flags, expires_after, label, id, state, nevers, said, saying, spoken, queued, reason, followers)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: node_set
-- Parameters: missing, flags, expires_after, label, id, state, nevers, said, saying, spoken, queued, reason, num. Cost: one row.
UPDATE node SET missing = ?, flags = ?, expires_after = ?, label = ?, id = ?, state = ?, nevers = ?, said = ?, saying = ?, spoken = ?, queued = ?,
reason = ? WHERE num = ?;

-- name: node_get
-- A node with its message and its value. Parameters: flow, number. Cost: three look-ups.
SELECT n.num, n.number, n.missing, n.flags, n.expires_after, n.label, n.id, n.state, n.nevers, n.said, n.saying, n.spoken, n.queued, n.reason, n.followers,
m.queue, m.due, m.after, m.data, v.value FROM node n LEFT JOIN node_message m ON m.node = n.num LEFT JOIN node_value v ON v.node = n.num
WHERE n.flow = ? AND n.number = ?;

-- name: nodes_page
-- Nodes of a flow after a number. Parameters: flow, number, limit. Cost: the limit.
SELECT number, missing, flags, label, id, state, reason, followers FROM node WHERE flow = ? AND number > ? ORDER BY number LIMIT ?;

-- name: nodes_failed
-- Failed and dropped nodes of a flow. Parameters: flow, limit. Cost: the limit.
SELECT number FROM node WHERE flow = ? AND state IN (3, 4) ORDER BY number LIMIT ?;

-- name: nodes_some
-- Some nodes of a flow. Parameters: flow, limit. Cost: the limit.
SELECT num FROM node WHERE flow = ? LIMIT ?;

-- name: node_remove
-- Parameters: num. Cost: one row.
DELETE FROM node WHERE num = ?;

-- name: node_message_set
-- Parameters: node, queue, due, after, data. Cost: one row.
INSERT INTO node_message (node, queue, due, after, data) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (node) DO UPDATE SET queue = excluded.queue, due = excluded.due, after = excluded.after, data = excluded.data;

-- name: node_message_remove
-- Parameters: node. Cost: one row.
DELETE FROM node_message WHERE node = ?;

-- name: node_value_set
-- Parameters: node, value. Cost: one row.
INSERT INTO node_value (node, value) VALUES (?, ?) ON CONFLICT (node) DO UPDATE SET value = excluded.value;

-- name: node_value_remove
-- Parameters: node. Cost: one row.
DELETE FROM node_value WHERE node = ?;

-- name: node_value
-- The kept value of a node that has ended. Parameters: flow, number. Cost: two look-ups.
SELECT v.value FROM node n JOIN node_value v ON v.node = n.num WHERE n.flow = ? AND n.number = ? AND n.state IN (2, 3, 4);

-- name: waiting_of_flow
-- Messages of a flow that wait in queues. Parameters: flow, limit. Cost: the limit, and what of it runs.
SELECT m.pos, m.queue, q.name, m.priority, m.handed, m.record, m.data, m.slot, m.flow FROM message m JOIN queue q ON q.id = m.queue
WHERE m.flow = ? AND m.state < 2 LIMIT ?;

-- name: leased_of_flow
-- Messages of a flow in somebody's hands, and the numbers of their workers. Parameters: flow. Cost: the messages of the flow that are in queues.
SELECT m.pos, m.queue, q.name, m.priority, m.handed, m.record, m.data, m.slot, m.flow, h.worker FROM message m JOIN queue q ON q.id = m.queue
JOIN holder h ON h.id = m.holder WHERE m.flow = ? AND m.state = 2;

-- name: letters_of_flow
-- Some dead letters of a flow. Parameters: flow, limit. Cost: the limit.
SELECT pos FROM dead WHERE flow = ? LIMIT ?;

-- name: letters_of_member
-- The dead letters of one member. Parameters: id, flow. Cost: their number.
SELECT pos FROM dead WHERE id = ? AND flow = ?;
