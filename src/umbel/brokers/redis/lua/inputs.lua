-- Kept values of nodes.
-- KEYS  1 root · 2 the flow f:FLOW · 3 its values fr:FLOW
-- ARGV  numbers of nodes, at most 1,000
-- Returns the values in that order, nothing for one that is not kept. Cost: O(numbers). Writes nothing.
-- @include clock
local ends = redis.call('HGET', KEYS[2], 'en')
if ends and tonumber(ends) <= server_now() then return {} end
return redis.call('HMGET', KEYS[3], unpack(ARGV))
