-- A flow has all its nodes; those that were held are told what they wait for.
-- KEYS  1 root
-- ARGV  1 flow · 2 … the held nodes anew, see parts/member.lua
-- Made from root: the keys of a flow · r:PRIORITY:QUEUE s:QUEUE t:QUEUE queues recorded serial · m:ID n:ID
-- Returns 1, or 0 if it was ended or is not there. Cost: O(nodes), and at most 1,000 edges that speak. Refused whole when the server has no room.
-- @include clock route record ring limit lane place node flow member
return members().close(KEYS[1], server_now(), ARGV[1], ARGV, 2, #ARGV) and 1 or 0
