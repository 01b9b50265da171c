-- Put back a token that its taker will not use, or pass it on.
-- KEYS  1 root
-- ARGV  1 queue · 2 't:' for anybody, 'a:' for one with empty hands
-- Made from root: t:QUEUE a:QUEUE (lists)
-- Returns 1. Cost: O(1).
-- @include ring
ring(KEYS[1], ARGV[1], ARGV[2])
return 1
