-- The heartbeat of a worker.
-- KEYS  1 workers (zset by end of lease) · 2 about (hash) · 3 lost:WORKER (set) · 4 c:WORKER (zset of commands by number) ·
--       5 ticks (hash)
-- ARGV  1 worker · 2 ttl in ms · 3 about, '' to leave it as it is · 4 number of the last command that the worker has heard
-- Returns {now, 1 if it was known, {holders lost}, {commands: its words, its number …}, revision of the schedules}. A command is told again until a
--         heartbeat says that it was heard: the reply that told it may have been lost.
-- Cost: O(holders lost + commands).
-- @include clock
local now = server_now()
redis.call('HDEL', KEYS[2], '') -- the first write, and one that is never refused for lack of room
local fresh = redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) end
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', ARGV[4])
return {now, 1 - fresh, redis.call('SMEMBERS', KEYS[3]), redis.call('ZRANGE', KEYS[4], 0, -1, 'WITHSCORES'),
  redis.call('HGET', KEYS[5], 'rev') or '0'}
