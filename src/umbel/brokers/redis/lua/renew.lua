-- The heartbeat of a worker.
-- KEYS  1 workers (zset by end of lease) · 2 about (hash) · 3 lost:WORKER (set) · 4 c:WORKER (list of commands)
-- ARGV  1 worker · 2 ttl in ms · 3 about, '' to leave it as it is
-- Returns {now, 1 if it was known, {holders lost}, {commands: what to do, id …}}
-- Cost: O(holders lost + commands).
-- @include clock
local now = server_now()
redis.call('HDEL', KEYS[2], '') -- the first write, and one that is never refused for lack of room
local fresh = redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) end
local commands = redis.call('LRANGE', KEYS[4], 0, -1)
if #commands > 0 then redis.call('DEL', KEYS[4]) end
return {now, 1 - fresh, redis.call('SMEMBERS', KEYS[3]), commands}
