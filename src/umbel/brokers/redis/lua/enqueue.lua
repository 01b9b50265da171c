-- Store new envelopes, all or none.
-- KEYS  1 root · 2 queues (set)
-- ARGV  1 for how long an explicit id is remembered, ms · 2 a record after its end, ms · 3… runs, see parts/accept.lua
-- Made from root: r:PRIORITY:QUEUE (list) · s:QUEUE (zset) · t:QUEUE (list) · ids (zset) · serial (counter) ·
--                 recorded (set) · m:ID (hash) · n:ID (stream)
-- Returns the positions, from 1, of the duplicates.
-- Cost: O(1) per envelope, O(log n) per scheduled or explicit one. Refused whole when the server has no room.
-- @include clock route record ring limit lane place rank keyed node flow member ending front enter accept
return accept(KEYS[1], server_now(), ARGV, 3, #ARGV, tonumber(ARGV[1]), tonumber(ARGV[2]))
