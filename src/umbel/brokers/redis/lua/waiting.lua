-- May something be claimable in these queues?
-- KEYS  1 root
-- ARGV  queues
-- Made from root: r:PRIORITY:QUEUE (list) · s:QUEUE (zset) · paused (set)
-- Returns 0 if a queue that is not paused has something ready or due, else the ms until it has, or -1. Writes nothing.
-- Cost: O(queues).
-- @include clock
local root, now, soonest = KEYS[1], server_now(), -1
local paused = redis.call('EXISTS', root .. 'paused') == 1
for _, queue in ipairs(ARGV) do
  if not (paused and redis.call('SISMEMBER', root .. 'paused', queue) == 1) then
    local keys = {}
    for priority = 0, 9 do keys[#keys + 1] = root .. 'r:' .. priority .. ':' .. queue end
    if redis.call('EXISTS', unpack(keys)) > 0 then return 0 end
    local first = redis.call('ZRANGE', root .. 's:' .. queue, 0, 0, 'WITHSCORES')
    if first[2] then
      local left = math.max(tonumber(first[2]) - now, 0)
      if left == 0 then return 0 end
      if soonest < 0 or left < soonest then soonest = left end
    end
  end
end
return soonest
