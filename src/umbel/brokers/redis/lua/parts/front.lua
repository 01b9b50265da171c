-- What comes out of a holder's hands: back in front of its list, or gone. Needs: ring, route, record, place.

-- In front of what waits; `list` holds {queue, message} in the order in which they shall be claimed, all of them
-- out of somebody's hands.
local function place_in_front(root, list)
  local groups, order = {}, {}
  for i = #list, 1, -1 do
    local queue, m = list[i][1], list[i][2]
    if is_tracked(m) then records().pending(root, m) end
    local key = ready_key(root, queue, priority_of(m))
    local group = groups[key]
    if not group then
      group = {}
      groups[key] = group
      order[#order + 1] = {key, queue}
    end
    group[#group + 1] = m
  end
  for _, at in ipairs(order) do
    local group = groups[at[1]]
    for i = 1, #group, CHUNK do
      redis.call('LPUSH', at[1], unpack(group, i, math.min(i + CHUNK - 1, #group)))
    end
    ring(root, at[2])
  end
end

-- A leased message is kept as: length of the queue's name (1 byte), the name, the packed envelope.
local function queue_and_message(value)
  local size = string.byte(value, 1)
  return string.sub(value, 2, 1 + size), string.sub(value, 2 + size)
end

-- Names for the answer: id, queue, reason.
local function note(list, queue, m, reason)
  list[#list + 1] = id_of(m)
  list[#list + 1] = queue
  list[#list + 1] = reason
end

-- It is gone, and its record says why.
local function drop(root, now, list, queue, m, reason)
  if is_tracked(m) then records().finish(root, now, m, reason == 'expired' and records().EXPIRED or records().REVOKED, reason, '') end
  note(list, queue, m, reason)
end
