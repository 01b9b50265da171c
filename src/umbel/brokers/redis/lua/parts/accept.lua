-- Store new envelopes. Needs: place, record.
-- They come as runs, args[at .. stop]: queue, priority, kind, count, then per envelope
--   kind 'r' (ready at once): packed
--   kind 's' (may be due later): due, after, packed
--   kind 'x' (as 's', with an id that the caller chose): id, due, after, packed
--   kind 'm' (as 'x', and a record is begun): '1' if the caller chose the id, due, after, packed
-- Answers with the positions (from 1) of the duplicates, which are not stored. The very first write is SADD, which a
-- server without room refuses, so that a script refused half-way has changed nothing.
local function accept(root, now, args, at, stop, dedupe_ms, record_ms)
  local duplicates, position = {}, 0
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
          if not known then redis.call('ZADD', ids, now + dedupe_ms, chosen) end
        end
        if known then
          duplicates[#duplicates + 1] = position
        else
          local after, m = tonumber(args[at + 1]), args[at + 2]
          local due = math.max(tonumber(args[at]), after > 0 and now + after or 0)
          local number = place(root, now, queue, due, m)
          if kind == 'm' then records().begin(root, now, queue, m, record_ms, due, number) end
        end
        at = at + 3
      end
    end
  end
  return duplicates
end
