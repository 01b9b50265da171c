-- Cancel a tracked message, whose record says where it is.
-- KEYS  1 root
-- ARGV  1 id as stored · 2 '1' to have its worker end it, if it runs
-- Made from root: m:ID n:ID · s:QUEUE z:QUEUE · h:HOLDER · c:WORKER · tombs serial · uniques debounced
-- Returns 'WAITING' it will not run · 'RUNNING' it will not run again · 'UNKNOWN' it has ended · 'PLAIN' it has no record ·
--         {'SEARCH', queue} it is a member of a flow, in one of that queue's lists.
-- Cost: O(log n) of its queue's schedule.
-- @include clock route record ring limit lane place keyed node flow member ending front rank cancelling
local root, id, now = KEYS[1], ARGV[1], server_now()
redis.call('HDEL', root .. 'm:' .. id, '') -- the first write, and one that is never refused for lack of room
local state, queue, holder, field, d = unpack(redis.call('HMGET', root .. 'm:' .. id, 's', 'q', 'h', 'g', 'd'))
if not state then return 'PLAIN' end

if holder and field then
  local value = redis.call('HGET', root .. 'h:' .. holder, field)
  if not value then return 'UNKNOWN' end
  cancel_held(root, holder, field, value, id, ARGV[2] == '1')
  return 'RUNNING'
end
if d then
  local member = scheduled_at(root, queue, d)
  if not member then return 'UNKNOWN' end
  redis.call('ZREM', root .. 's:' .. queue, member)
  ended(root, now, string.sub(member, SERIAL + 1), 'V', 'cancelled', '')
  return 'WAITING'
end
if state ~= records().PENDING and state ~= records().RETRY then return 'UNKNOWN' end
-- Its flow has to be told what was cancelled, and keeps it.
if redis.call('HGET', root .. 'm:' .. id, 'i') then return {'SEARCH', queue} end
cancel_ready(root, now, queue, id)
keyed(root).ended_by_record(id)
records().finish_of(root, now, id, records().REVOKED, 'cancelled', '')
return 'WAITING'
