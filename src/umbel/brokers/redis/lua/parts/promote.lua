-- Move what is due in a queue's schedule behind what is ready there. Needs: route, place, ending, front.
-- At most `budget` messages, or a few megabytes; answers with how much of the budget is spent (all of it by those megabytes), how
-- many became ready, and the time of the next one (nil: none). Those that expired while they waited are noted in `dropped` instead.
local function promote(root, now, queue, budget, dropped)
  local key = root .. 's:' .. queue
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if not first[1] then return 0, 0, nil end
  local due = tonumber(first[2])
  if due > now or budget <= 0 then return 0, 0, due end
  local groups, count, moved, bytes = {}, 0, 0, 0
  while moved < budget and bytes < HEAVY do
    local members = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, math.min(PIECE, budget - moved))
    if #members == 0 then break end
    redis.call('ZREMRANGEBYRANK', key, 0, #members - 1)
    moved = moved + #members
    for _, member in ipairs(members) do
      bytes = bytes + #member
      local m = string.sub(member, SERIAL + 1)
      local flags = readable(m)
      local expires = flags and struct.unpack('>I8', m, 26) or 0
      if expires > 0 and expires <= now then
        drop(root, now, dropped, queue, m, 'expired')
      else
        if flags then ready_again(root, m) end
        local priority = priority_of(m)
        local group = groups[priority]
        if not group then
          group = {}
          groups[priority] = group
        end
        group[#group + 1] = m
        count = count + 1
      end
    end
  end
  for priority, group in pairs(groups) do
    for i = 1, #group, CHUNK do
      redis.call('RPUSH', ready_key(root, queue, priority), unpack(group, i, math.min(i + CHUNK - 1, #group)))
    end
  end
  first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return bytes < HEAVY and moved or budget, count, tonumber(first[2])
end
