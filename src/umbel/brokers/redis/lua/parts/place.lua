-- Where a message that comes in stands: behind in a ready list or in its lane, or in its queue's schedule. Needs: ring, route, lane.

-- `unpack` fails near 8,000 values, and a long one holds the server's memory twice.
local CHUNK = 1000
-- Bytes of messages after which a step ends that could also go on later: a thousand of the largest would hold the server for
-- seconds. They are read in pieces, of which the last one may go beyond it.
local HEAVY, PIECE = 4 * 1024 * 1024, 32

local function ready_key(root, queue, priority)
  return root .. 'r:' .. priority .. ':' .. queue
end

-- Members begin with six bytes of a rising number: equal bodies stay apart, equal times keep their order.
local SERIAL = 6

local function schedule(root, queue, due, m)
  local key = root .. 's:' .. queue
  local number = redis.call('INCR', root .. 'serial')
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  redis.call('ZADD', key, due, struct.pack('>I6', number) .. m)
  if not first[2] or due < tonumber(first[2]) then ring(root, queue) end
  return number
end

-- Into its lane, if it has one: true, or false for one without. One that comes anew and does not wait for others: the reason why
-- it is not there, where somebody has, or waits for, what it would wait for.
local function into_lane(root, queue, m, front)
  local lane = lanes(root).of(m)
  if not lane then return false end
  if not front and is_new(m) and lanes(root).locked(lane) then return 'locked' end
  lanes(root).push(queue, m, lane, front)
  return true
end

-- Behind what waits, now or at `due`; answers with its number in the schedule, or nil and why it does not stand there after all.
local function place(root, now, queue, due, m)
  if due > now then return schedule(root, queue, due, m) end
  local laned = has_extras(m) and into_lane(root, queue, m, false)
  if laned == 'locked' then return nil, laned end
  if not laned then
    redis.call('RPUSH', ready_key(root, queue, priority_of(m)), m)
    ring(root, queue)
  end
  return nil
end
