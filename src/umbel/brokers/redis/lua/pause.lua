-- Let nothing be claimed from a queue.
-- KEYS  1 paused (set) · 2 queues (set)
-- ARGV  1 queue
-- Returns 1. Cost: O(1).
redis.call('SREM', KEYS[1], '') -- the first write, and one that is never refused for lack of room
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[2], ARGV[1])
return 1
