-- Begin or end the pause of a schedule; at its end, ticks up to now are dealt with.
-- KEYS  1 root · 2 ticks (hash)
-- ARGV  1 name · 2 '1' to pause, '' to resume
-- Made from root: tick:NAME (hash), see parts/ticks.lua
-- Returns 1, or 0 if there is none. Cost: O(1).
-- @include clock ticks
local root, key = KEYS[1], KEYS[1] .. 'tick:' .. ARGV[1]
local was = redis.call('HMGET', key, 'v', 'p')
if not was[1] then return 0 end
if ARGV[2] == '1' and was[2] == '1' then return 1 end
redis.call('HDEL', key, 'p') -- the first write, and one that is never refused for lack of room
if ARGV[2] == '1' then
  redis.call('HSET', key, 'p', '1', 'v', rise(root))
else
  redis.call('HSET', key, 't', digits(server_now()), 'v', rise(root))
end
return 1
