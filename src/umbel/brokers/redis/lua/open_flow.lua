-- Begin a flow.
-- KEYS  1 root · 2 the flow f:FLOW
-- ARGV  1 flow · 2 label · 3 result · 4 on_error · 5 ms that it is kept after its end, '' for that of records · 6 ms that records are kept ·
--       7 ms that dead letters are · then those of its handler, '' '0' '0' '' for none: 8 queue · 9 due · 10 after · 11 envelope
-- Made from root: flows fopen (zsets)
-- Returns 1, or 0 if there is one of that id. Cost: O(log n) of all flows. Refused whole when the server has no room.
-- @include clock
local root, flow, now = KEYS[1], KEYS[2], server_now()
if redis.call('HEXISTS', flow, 'c') == 1 then return 0 end
local at = string.format('%.0f', now)
redis.call('HSET', flow, 'c', at, 'u', at, 'o', '1', 'lb', ARGV[2], 'rs', ARGV[3], 'oe', ARGV[4], 'l', ARGV[6], 'L', ARGV[7])
redis.call('PERSIST', flow) -- somebody may have waited for it before it began
if ARGV[5] ~= '' then redis.call('HSET', flow, 'T', ARGV[5]) end
if ARGV[8] ~= '' then redis.call('HSET', flow, 'hq', ARGV[8], 'hd', ARGV[9], 'ha', ARGV[10], 'hm', ARGV[11]) end
redis.call('ZADD', root .. 'flows', at, ARGV[1])
redis.call('ZADD', root .. 'fopen', at, ARGV[1])
return 1
