-- Which queues are served, or were.
-- KEYS  1 root · 2 workers (zset) · 3 served (zset) · 4 paused (set)
-- Made from root: v:QUEUE (set of workers) · r:PRIORITY:QUEUE s:QUEUE i:QUEUE
-- Returns {queue, 1 if a live worker serves it, 1 if none does and anything waits in it, 1 if it is paused} …
-- Cost: O(queues that are or were served); for one that nobody serves any more, O(its last workers). Writes nothing.
-- @include clock
local root, now, answer = KEYS[1], server_now(), {}

local function alive(queue)
  for _, worker in ipairs(redis.call('SMEMBERS', root .. 'v:' .. queue)) do
    local lease = redis.call('ZSCORE', KEYS[2], worker)
    if lease and tonumber(lease) > now then return 1 end
  end
  return 0
end

local function waits(queue)
  local keys = {root .. 's:' .. queue, root .. 'i:' .. queue}
  for priority = 0, 9 do keys[#keys + 1] = root .. 'r:' .. priority .. ':' .. queue end
  return redis.call('EXISTS', unpack(keys)) > 0 and 1 or 0
end

for _, queue in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  local lives = alive(queue)
  answer[#answer + 1] = {queue, lives, lives == 1 and 0 or waits(queue), redis.call('SISMEMBER', KEYS[4], queue)}
end
return answer
