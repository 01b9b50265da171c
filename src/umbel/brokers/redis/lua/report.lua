-- Note progress of a delivery, if it still is in its holder's hands.
-- KEYS  1 the holder's hash h:HOLDER · 2 the record m:ID
-- ARGV  1 field of the delivery · 2 id as stored · 3 progress
-- Returns 1 if it is, else 0. Cost: O(1).
-- @include route record ring limit lane place keyed node flow member ending front
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then return 0 end
local _, m = queue_and_message(value)
if id_of(m) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[2], '') -- the first write, and one that is never refused for lack of room
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], 'p', ARGV[3]) end
return 1
