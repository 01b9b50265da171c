-- Does a new message come in, and when is it due? Needs: route, record, limit, lane, place, rank, keyed.
-- Answers with that time, and nil or the id of the message that stands for it; then the key of a debounced one, for `debounced`.
local function enter(root, now, queue, m, due)
  local keys, limit = keyed(root), limits(root)
  local extras = limit.extras_of(m)
  if not extras then return due, nil, nil end

  local function debounce(key, span, most)
    local value = redis.call('HGET', root .. 'debounced', key)
    if not value then return now + math.min(span, most), nil, key end
    local first, was, number, its_queue, id, _ = keys.opened(value)
    local again = math.min(now + span, first + most)
    local member = scheduled_at(root, its_queue, string.format('%.0f:%.0f', was, number))
    if member then
      redis.call('ZREM', root .. 's:' .. its_queue, member)
      local merged = keys.merged(string.sub(member, SERIAL + 1), m)
      local new = schedule(root, its_queue, again, merged)
      if is_tracked(merged) then records().waits(root, merged, again, new) end
      redis.call('HSET', root .. 'debounced', key, keys.closed(first, again, new, its_queue, id, ''))
    else
      redis.call('HSET', root .. 'debounced', key, keys.closed(first, was, number, its_queue, id, m))
    end
    return nil, id, nil
  end

  local function throttle(key, span)
    local value = redis.call('HGET', root .. 'throttled', key)
    if value then
      local stop = struct.unpack('>d', value)
      if stop > now then return string.sub(value, 9) end
    end
    redis.call('HSET', root .. 'throttled', key, struct.pack('>d', now + span) .. id_of(m))
    redis.call('ZADD', root .. 'throttles', now + span, key)
    return nil
  end

  local owner, key = nil, nil
  if extras[UNIQUE] then
    owner = keys.take(m, extras[UNIQUE])
  elseif extras[DEBOUNCE] then
    local name, span, most = keys.spans(extras[DEBOUNCE])
    if name then due, owner, key = debounce(name, span, most or span) end
  elseif extras[THROTTLE] then
    local name, span = keys.spans(extras[THROTTLE])
    if name then owner = throttle(name, span) end
  end
  if owner then return nil, owner, nil end
  if extras[UNIQUE] or key then redis.call('SADD', root .. 'recorded', queue) end
  limit.know(extras)
  return due, nil, key
end

-- It was put into the schedule: where to find it when it is asked for again.
local function debounced(root, now, key, queue, m, due, number)
  redis.call('HSET', root .. 'debounced', key, keyed(root).closed(now, due, number or 0, queue, id_of(m), ''))
end
