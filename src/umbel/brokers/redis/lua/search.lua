-- Look for a message that has no record among those that wait in a queue, some of them at a time; cancel it if asked to.
-- KEYS  1 root
-- ARGV  1 id as stored · 2 '1' to cancel it · 3 queue · 4 list to look at: 0-9 ready ones of that priority, 10 scheduled ones, from 11
--       on the lanes that are named · 5 how many of that list, from its end, were looked at already · 6 most to look at now ·
--       7 … lanes (see parts/lane.lua)
-- Made from root: r:PRIORITY:QUEUE s:QUEUE z:QUEUE tombs m:ID n:ID · l:n:QUEUE:SPOT uniques debounced
-- Returns {'found', 'ready' or 'scheduled', due or '', envelope} · {'more', list, how many} · {} it is not there.
-- Cost: O(messages looked at), a few megabytes of them at most. From the end, since what leaves a list leaves it in front: nothing is passed by unseen.
-- @include clock route record ring limit lane place keyed node flow member ending front cancelling
local root, id, cancel, queue = KEYS[1], ARGV[1], ARGV[2] == '1', ARGV[3]
local list, seen, budget = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local graves = root .. 'z:' .. queue
local SCHEDULE = 10
local bytes = 0
local name = string.sub(id, 2)

local function is_it(m)
  local head = string.byte(m, 2)
  return head and string.sub(m, head + 2, head + 1 + #name) == name and id_of(m) == id
end

local function looked(key, command, strip)
  while budget > 0 do
    local some = redis.call(command, key, -seen - math.min(budget, PIECE), -seen - 1)
    if #some == 0 then return nil end
    for i = #some, 1, -1 do
      bytes = bytes + #some[i]
      if is_it(string.sub(some[i], strip + 1)) then return some[i] end
    end
    seen, budget = seen + #some, bytes < HEAVY and budget - #some or 0
  end
  return nil
end

local function ready(m)
  if redis.call('ZSCORE', graves, id) then return {} end
  if cancel then
    redis.call('HDEL', root .. 'm:' .. id, '') -- the first write, and one that is never refused for lack of room
    cancel_ready(root, server_now(), queue, id)
    ended(root, server_now(), m, 'V', 'cancelled', '')
  end
  return {'found', 'ready', '', has_extras(m) and keyed(root).shown(m) or m}
end

local function scheduled(member)
  local m, due = string.sub(member, SERIAL + 1), redis.call('ZSCORE', root .. 's:' .. queue, member)
  if cancel then
    redis.call('ZREM', root .. 's:' .. queue, member)
    ended(root, server_now(), m, 'V', 'cancelled', '')
  end
  return {'found', 'scheduled', due, m}
end

while list <= SCHEDULE + #ARGV - 6 do
  local m
  if list < SCHEDULE then
    m = looked(ready_key(root, queue, list), 'LRANGE', 0)
    if m then return ready(m) end
  elseif list == SCHEDULE then
    m = looked(root .. 's:' .. queue, 'ZRANGE', SERIAL)
    if m then return scheduled(m) end
  else
    m = looked(lanes(root).list_of(queue, ARGV[list - SCHEDULE + 6]), 'LRANGE', 0)
    if m then return ready(m) end
  end
  if budget <= 0 then return {'more', list, seen} end
  list, seen = list + 1, 0
end
return {}
