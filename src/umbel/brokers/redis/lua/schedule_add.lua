-- Store a schedule that was made at run time.
-- KEYS  1 root · 2 ticks (hash) · 3 schedules (set)
-- ARGV  1 name · 2 rule · 3 definition · 4 '1' to replace one that was made at run time
-- Made from root: tick:NAME (hash), see parts/ticks.lua
-- Returns 1, or 0 and does nothing if the name is taken. Cost: O(1). Refused whole when the server has no room.
-- @include clock ticks
local origin = redis.call('HGET', KEYS[1] .. 'tick:' .. ARGV[1], 'o')
if origin and (origin == 'c' or ARGV[4] ~= '1') then return 0 end
write_schedule(KEYS[1], ARGV[1], ARGV[2], ARGV[3], 'r', server_now())
return 1
