-- Store plain envelopes of one queue and one priority: ready at once, no id chosen by the caller, no record. What nearly
-- every call is, so it has a script that is no longer than it must be.
-- KEYS  1 its list r:PRIORITY:QUEUE · 2 its token list t:QUEUE · 3 queues (set)
-- ARGV  1 queue · 2 … packed envelopes, at most 1,000
-- Returns how many wait in the list now.
-- Cost: O(1) per envelope. The first write is one that a server without room refuses: then nothing was changed.
local waiting = redis.call('RPUSH', KEYS[1], unpack(ARGV, 2))
-- A list that was not empty belongs to a queue that is known.
if waiting == #ARGV - 1 then redis.call('SADD', KEYS[3], ARGV[1]) end
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('RPUSH', KEYS[2], '1') end
return waiting
