-- Add nodes to an open flow, all of them, and make ready what waits for nothing.
-- KEYS  1 root
-- ARGV  1 flow · 2 … nodes, see parts/member.lua
-- Made from root: the keys of a flow · r:PRIORITY:QUEUE s:QUEUE t:QUEUE queues recorded serial · m:ID n:ID
-- Returns 1, or 0 if the flow takes none. Cost: O(nodes), and at most 1,000 edges that speak. Refused whole when the server has no room.
-- @include clock route record ring limit lane place node flow member
return members().add(KEYS[1], server_now(), ARGV[1], ARGV, 2, #ARGV) and 1 or 0
