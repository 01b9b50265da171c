-- End a queue's pause, and wake who waits.
-- KEYS  1 root · 2 paused (set)
-- ARGV  1 queue
-- Made from root: t:QUEUE (list)
-- Returns 1. Cost: O(1).
-- @include ring
redis.call('SREM', KEYS[2], ARGV[1])
ring(KEYS[1], ARGV[1])
return 1
