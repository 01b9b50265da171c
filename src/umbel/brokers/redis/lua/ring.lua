-- Put back a token that its taker will not use.
-- KEYS  1 root
-- ARGV  1 queue
-- Made from root: t:QUEUE (list)
-- Returns 1. Cost: O(1).
-- @include ring
ring(KEYS[1], ARGV[1])
return 1
