-- Remove all that is ready or scheduled in a queue.
-- KEYS  1 root
-- ARGV  1 queue
-- Made from root: r:PRIORITY:QUEUE (list) · s:QUEUE (zset) · t:QUEUE (list)
-- Returns how many. Cost: O(1); the memory is freed in the background.
local root, queue = KEYS[1], ARGV[1]
local keys, count = {root .. 's:' .. queue, root .. 't:' .. queue}, redis.call('ZCARD', root .. 's:' .. queue)
for priority = 0, 9 do
  local key = root .. 'r:' .. priority .. ':' .. queue
  count = count + redis.call('LLEN', key)
  keys[#keys + 1] = key
end
redis.call('UNLINK', unpack(keys))
return count
