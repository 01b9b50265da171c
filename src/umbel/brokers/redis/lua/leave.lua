-- A worker ends in good order: all that its holders hold goes back in front, and they and it are forgotten.
-- KEYS  1 root · 2 workers (zset) · 3 about (hash)
-- ARGV  1 worker
-- Made from root: w:WORKER lost:WORKER (sets) · c:WORKER (zset) · h:HOLDER (hash) · k:HOLDER gone (zsets) ·
--                 r:PRIORITY:QUEUE t:QUEUE (lists) · m:ID n:ID · those of parts/lane.lua, limit.lua, keyed.lua
-- Returns {how many went back, {id, queue, reason … removed}}. Cost: O(n log n) of what they held.
-- @include clock route record ring limit lane place keyed node flow member ending front holder
local root, worker, now = KEYS[1], ARGV[1], server_now()
local returned, removed = 0, {}
for _, holder in ipairs(redis.call('SMEMBERS', root .. 'w:' .. worker)) do
  local back = split_cancelled(root, now, deliveries_of(root .. 'h:' .. holder), removed, holder, true)
  forget_holder(root, now, holder, worker)
  place_in_front(root, back)
  returned = returned + #back
end
redis.call('ZREM', KEYS[2], worker)
redis.call('HDEL', KEYS[3], worker)
redis.call('DEL', root .. 'w:' .. worker, root .. 'lost:' .. worker, root .. 'c:' .. worker)
return {returned, removed}
