-- Put deliveries that were never begun back in front of their queues.
-- KEYS  1 root · 2 the holder's hash h:HOLDER · 3 what was taken from it, k:HOLDER (zset, by sequence)
-- ARGV  fields `sequence:index`
-- Made from root: r:PRIORITY:QUEUE (list) · t:QUEUE (list) · m:ID n:ID
-- Returns how many went back. Cost: O(n log n).
-- @include clock route record ring place node flow member ending front holder
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
place_in_front(KEYS[1], split_cancelled(KEYS[1], server_now(), found, {}))
return #found
