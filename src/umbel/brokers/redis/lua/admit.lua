-- Allow a holder to consume for a worker.
-- KEYS  1 root · 2 workers (zset) · 3 gone (zset) · 4 the holder's hash h:HOLDER · 5 the worker's holders w:WORKER (set)
-- ARGV  1 worker · 2 holder
-- Returns 'OK' · 'GONE' the name was used up · 'OTHER' it consumes for another worker · 'FENCED' the worker is not known ·
--         'LATE' its lease has ended.
-- Cost: O(1).
-- @include clock
if redis.call('ZSCORE', KEYS[3], ARGV[2]) then return 'GONE' end
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not lease then return 'FENCED' end
if tonumber(lease) <= server_now() then return 'LATE' end
local worker = redis.call('HGET', KEYS[4], 'w')
if worker then return worker == ARGV[1] and 'OK' or 'OTHER' end
-- Never refused for lack of room, even before Redis 7: this write is not, and no later one of the script is then.
redis.call('DEL', KEYS[4])
redis.call('HSET', KEYS[4], 'w', ARGV[1], 's', 0, 'v', '')
redis.call('SADD', KEYS[5], ARGV[2])
return 'OK'
