-- Put deliveries that were never begun back in front of their queues.
-- KEYS  1 root · 2 the holder's hash h:HOLDER · 3 what was taken from it, k:HOLDER (zset, by sequence)
-- ARGV  fields `sequence:index`
-- Made from root: r:PRIORITY:QUEUE (list) · t:QUEUE (list) · m:ID n:ID · those of parts/lane.lua, limit.lua, keyed.lua
-- Returns how many went back. Cost: O(n log n).
-- @include clock route record ring limit lane place keyed node flow member ending front holder
local found = {}
for _, field in ipairs(ARGV) do
  local value = redis.call('HGET', KEYS[2], field)
  if value then
    local seq, index = string.match(field, '^(%d+):(%d+)$')
    redis.call('HDEL', KEYS[2], field)
    found[#found + 1] = {tonumber(seq), tonumber(index), field, value}
  end
end
by_receipt(found)
for _, one in ipairs(found) do redis.call('ZADD', KEYS[3], one[1], one[3]) end
-- A trace of the last thousand tells `superseded` from `absent`; older ones have been answered long ago.
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1001)
-- Read before it is put back: KEYS[2] is the root, h: and the name.
local holder, extras = string.sub(KEYS[2], #KEYS[1] + 3), 0
for _, one in ipairs(found) do
  local _, m = queue_and_message(one[4])
  if has_extras(m) then extras = extras + 1 end
end
if extras > 0 and redis.call('HINCRBY', KEYS[2], 'l', -extras) <= 0 then redis.call('HDEL', KEYS[2], 'l') end
place_in_front(KEYS[1], split_cancelled(KEYS[1], server_now(), found, {}, holder, true))
return #found
