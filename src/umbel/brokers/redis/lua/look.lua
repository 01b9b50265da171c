-- Read a record, and say that its end is waited for.
-- KEYS  1 root · 2 the record m:ID
-- ARGV  1 ms that will be waited
-- Returns the record's fields, as Redis lists a hash: without an s there is none (yet). Cost: O(1).
-- @include route record
redis.call('HDEL', KEYS[2], '') -- the first write, and one that is never refused for lack of room
local state = redis.call('HGET', KEYS[2], 's')
if not state then
  -- It may be begun while it is waited for. Nothing stays if it is not.
  local stays = tonumber(ARGV[1]) + records().NEWS_MS
  redis.call('HSET', KEYS[2], 'w', '1')
  if redis.call('PTTL', KEYS[2]) < stays then redis.call('PEXPIRE', KEYS[2], records().whole(stays)) end
elseif not records().is_final(state) then
  redis.call('HSET', KEYS[2], 'w', '1')
end
return redis.call('HGETALL', KEYS[2])
