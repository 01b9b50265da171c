-- Delete a final record.
-- KEYS  1 the record m:ID · 2 its news n:ID
-- Returns 1 if there was one, else 0. Cost: O(1).
-- @include route record
if not records().is_final(redis.call('HGET', KEYS[1], 's')) then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
