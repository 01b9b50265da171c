-- A worker says which queues it serves, instead of what it said before.
-- KEYS  1 root · 2 workers (zset) · 3 served (zset)
-- ARGV  1 worker · 2 … queues
-- Made from root: v:QUEUE (set of workers)
-- Returns 1, or 0 and does nothing if the worker's lease does not live. Cost: O(queues that are or were served).
-- @include clock
local root, worker, now = KEYS[1], ARGV[1], server_now()
local lease = redis.call('ZSCORE', KEYS[2], worker)
if not lease or tonumber(lease) <= now then return 0 end
redis.call('ZREM', KEYS[3], '') -- the first write, and one that is never refused for lack of room
local mine = {}
for i = 2, #ARGV do
  mine[ARGV[i]] = true
  redis.call('ZADD', KEYS[3], now, ARGV[i])
  redis.call('SADD', root .. 'v:' .. ARGV[i], worker)
end
local known = redis.call('ZCARD', KEYS[2])
for _, queue in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  local key = root .. 'v:' .. queue
  if not mine[queue] then redis.call('SREM', key, worker) end
  if redis.call('SCARD', key) > known then -- some of them are no more
    for _, one in ipairs(redis.call('SMEMBERS', key)) do
      if not redis.call('ZSCORE', KEYS[2], one) then redis.call('SREM', key, one) end
    end
  end
end
return 1
