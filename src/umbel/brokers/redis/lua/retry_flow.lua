-- Make the failed and dropped nodes of a flow ready again, and what was abandoned because of them blocked.
-- KEYS  1 root
-- ARGV  1 flow
-- Made from root: the keys of a flow · dead died buried deadsize · r:PRIORITY:QUEUE t:QUEUE queues recorded · m:ID n:ID
-- Returns {1 if there is something that can be retried, how many were, 1 if it is to be called again}.
-- Cost: O(nodes), about 1,000 or a few megabytes of them, and at most 1,000 edges that speak.
-- @include clock route record ring limit lane place keyed node flow member ending front bury rank cancelling steering
local root, now = KEYS[1], server_now()
redis.call('HDEL', root .. 'f:' .. ARGV[1], '') -- the first write, and one that is never refused for lack of room
local entry = flows().living(root, now, ARGV[1])
if not entry or entry.ended then return {0, 0, 0} end
local failed, count, bytes = root .. 'fz:' .. ARGV[1], 0, 0
local found = redis.call('HSCAN', failed, '0', 'COUNT', CHUNK)
for i = 1, #found[2], 2 do
  local number = found[2][i]
  local node = flows().node_of(entry, number)
  if node and bytes < HEAVY then
    bytes = bytes + retried(root, now, entry, number, node)
    count = count + 1
  end
end
flows().go_on(entry, now)
flows().save(entry)
return {1, count, (entry.sp > 0 or redis.call('EXISTS', failed) == 1) and 1 or 0}
