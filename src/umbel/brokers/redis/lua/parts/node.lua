-- A node of a flow as it is packed: an array with these places, then the followers, first and last of each range. Its numbers are those of
-- umbel/joins.py where that has them, else of umbel/brokers/redis/joins.py.
local STATE, LEFT, NEVERS, FLAGS, SAID, SAYING, AT, QUEUED, EDGES, EXPIRES, ID, QUEUE, LABEL, REASON, WHERE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
  12, 13, 14, 15
local BLOCKED, READY, DONE, FAILED, DROPPED, ABANDONED = 0, 1, 2, 3, 4, 5
-- What edges say.
local NOTHING, OK, NEVER = 0, 1, 2
local CONTINUE, KEEP, RIDE, HELD, GATE = 1, 2, 4, 8, 16
-- Tags of extras.
local FLOW, NODE, INPUT, FAILURE = 3, 4, 16, 17

local function has(node, flag)
  return bit.band(node[FLAGS], flag) ~= 0
end
