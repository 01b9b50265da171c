-- Where a message stands, if that can be told without a search.
-- KEYS  1 root · 2 dead (hash)
-- ARGV  1 id as stored
-- Made from root: m:ID · s:QUEUE · h:HOLDER
-- Returns {'scheduled', queue, due, envelope} · {'leased', holder, worker, value as kept} · {'dead', letter} ·
--         {'ready', queue} it stands in one of that queue's lists · {'ended'} its record says that it is over · {} it has none.
-- Cost: O(log n) of its queue's schedule. Writes nothing.
-- @include route record ring limit lane place keyed node flow member ending front rank
local root, id = KEYS[1], ARGV[1]
local state, queue, holder, field, d = unpack(redis.call('HMGET', root .. 'm:' .. id, 's', 'q', 'h', 'g', 'd'))
if holder and field then
  local value = redis.call('HGET', root .. 'h:' .. holder, field)
  if value then return {'leased', holder, redis.call('HGET', root .. 'h:' .. holder, 'w'), value} end
elseif d then
  local member, due = scheduled_at(root, queue, d)
  if member then return {'scheduled', queue, due, string.sub(member, SERIAL + 1)} end
elseif state == records().PENDING or state == records().RETRY then
  return {'ready', queue}
end
local letter = redis.call('HGET', KEYS[2], id)
if letter then return {'dead', letter} end
return state and {'ended'} or {}
