-- Delete a flow that is finished, with all that is kept of it.
-- KEYS  1 root
-- ARGV  1 flow · 2 '1' to go on with one that is half gone
-- Made from root: the keys of a flow · dead died buried deadsize fdead
-- Returns {1 if it was there and finished, 1 if it is to be called again}. Cost: O(dead letters deleted), some of them; the memory is freed in
--         the background.
-- @include clock route record ring limit lane place keyed node flow member ending front bury rank cancelling steering
local root, now = KEYS[1], server_now()
redis.call('HDEL', root .. 'f:' .. ARGV[1], '') -- the first write, and one that is never refused for lack of room
if ARGV[2] ~= '1' then
  local entry = flows().living(root, now, ARGV[1])
  if not entry or entry.fi == 0 then return {0, 0} end
end
return {1, forget_flow(root, ARGV[1]) and 1 or 0}
