-- Store new envelopes. Needs: place, record, enter.
-- They come as runs, args[at .. stop]: queue, priority, kind, count, then per envelope
--   kind 'r' (ready at once): packed
--   kind 's' (may be due later): due, after, packed
--   kind 'x' (as 's', with an id that the caller chose): id, due, after, packed
--   kind 'm' (to be looked into: a record, limits, keys): '1' if the caller chose the id, due, after, packed
-- Answers, of those that are not stored, with position (from 1), 'duplicate' or the reason of being dropped, and the id of the one
-- that stands for it ('' for itself) …; `dropped` (nil for nobody to tell): id, queue, reason of the latter. The very first write is SADD, which a
-- server without room refuses, so that a script refused half-way has changed nothing.
local function accept(root, now, args, at, stop, dedupe_ms, record_ms, dropped)
  local refused, position = {}, 0

  local function refuse(what, id)
    refused[#refused + 1] = position
    refused[#refused + 1] = what
    refused[#refused + 1] = id
  end

  local function look_into(queue, m, due)
    local key, owner = nil, nil
    if has_extras(m) then due, owner, key = enter(root, now, queue, m, due) end
    if owner then return refuse('duplicate', owner) end
    local number, reason = place(root, now, queue, due, m)
    if is_tracked(m) then
      records().begin(root, now, queue, m, record_ms, due, number)
      if has_extras(m) then keyed(root).record(m) end
    end
    if reason then
      refuse(reason, '')
      drop(root, now, dropped or {}, queue, m, reason)
    elseif key then
      debounced(root, now, key, queue, m, due, number)
    end
    return nil, true
  end

  while at <= stop do
    local queue, priority, kind, count = args[at], args[at + 1], args[at + 2], tonumber(args[at + 3])
    redis.call('SADD', root .. 'queues', queue)
    at = at + 4
    if kind == 'r' then
      local key = ready_key(root, queue, priority)
      for i = at, at + count - 1, CHUNK do
        redis.call('RPUSH', key, unpack(args, i, math.min(i + CHUNK - 1, at + count - 1)))
      end
      ring(root, queue)
      at = at + count
      position = position + count
    else
      for _ = 1, count do
        position = position + 1
        local known, chosen = false, nil
        if kind == 'x' then
          chosen = args[at]
          at = at + 1
        elseif kind == 'm' then
          chosen = args[at] == '1' and id_of(args[at + 3]) or nil
          at = at + 1
        end
        if chosen then
          local ids = root .. 'ids'
          local until_ms = redis.call('ZSCORE', ids, chosen)
          known = until_ms and tonumber(until_ms) > now
        end
        local stored = false
        if known then
          refuse('duplicate', '')
        else
          local after, m = tonumber(args[at + 1]), args[at + 2]
          local due = math.max(tonumber(args[at]), after > 0 and now + after or 0)
          if kind == 'm' then
            _, stored = look_into(queue, m, due)
          else
            place(root, now, queue, due, m)
            stored = true
          end
        end
        if stored and chosen then redis.call('ZADD', root .. 'ids', now + dedupe_ms, chosen) end
        at = at + 3
      end
    end
  end
  return refused
end
