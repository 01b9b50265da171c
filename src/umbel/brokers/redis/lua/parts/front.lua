-- What comes out of a holder's hands: back in front of its list, or gone. Needs: ring, route, place, ending.

-- In front of what waits; `list` holds {queue, message} in the order in which they shall be claimed, all of them
-- out of somebody's hands.
local function place_in_front(root, list)
  local groups, order = {}, {}
  for i = #list, 1, -1 do
    local queue, m = list[i][1], list[i][2]
    ready_again(root, m)
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

-- A leased message is kept as it stood in its list, behind the length of its queue's name (1 byte) and the name: writing
-- this hand-over into it costs more than all else that a claim does with it. It is counted when the message leaves the
-- holder's hands, and by whoever shows it before. What a newer release handed out is not touched.
local function queue_and_message(value)
  local at = 1 + string.byte(value, 1)
  local m = string.sub(value, at + 1)
  if string.byte(m, 1) == 1 then m = with_delivery(m) end
  return string.sub(value, 2, at), m
end

-- Names for the answer: id, queue, reason.
local function note(list, queue, m, reason)
  list[#list + 1] = id_of(m)
  list[#list + 1] = queue
  list[#list + 1] = reason
end

-- It is gone, and its record says why.
local function drop(root, now, list, queue, m, reason)
  ended(root, now, m, reason == 'expired' and 'X' or 'V', reason, '')
  note(list, queue, m, reason)
end
