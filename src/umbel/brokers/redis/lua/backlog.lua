-- How many messages wait in a queue, ready, in lanes or scheduled.
-- KEYS  1 root
-- ARGV  1 queue
-- Made from root: r:PRIORITY:QUEUE s:QUEUE z:QUEUE · waits (hash)
-- Returns how many; those that were cancelled where they stand ready are not counted. Cost: O(1). Writes nothing.
local root, queue = KEYS[1], ARGV[1]
local count = redis.call('ZCARD', root .. 's:' .. queue) + tonumber(redis.call('HGET', root .. 'waits', queue) or 0)
for priority = 0, 9 do count = count + redis.call('LLEN', root .. 'r:' .. priority .. ':' .. queue) end
return math.max(0, count - redis.call('ZCARD', root .. 'z:' .. queue))
