-- Keys by which one message stands for several (umbel/lane.py). Needs: route, record, limit.
-- uniques: hash, key -> id of the message that has it · debounced: hash, key -> when it was first asked for (ms), when it is due, its
-- number in the schedule, the length of its queue's name, the name, the length of its id, the id, and, once it is ready, the latest
-- call, whose arguments count · throttled: hash, key -> end of its window (ms), id; throttles: zset of those keys by that end.
-- A record's u is the tag and the key of its message, for who cancels it without seeing it.
local UNIQUE, UNTIL_START, DEBOUNCE, THROTTLE = 5, 6, 7, 9
local keying
local function keyed(root)
  if keying then return keying end
  local made, limit = {}, limits(root)
  keying = made

  -- Of a value of `debounced`: first, due, number, queue, id, latest ('': none).
  local function opened(value)
    local first, due, number, size = struct.unpack('>dddB', value)
    local at = 26 + size
    local id_size = string.byte(value, at)
    return first, due, number, string.sub(value, 26, at - 1), string.sub(value, at + 1, at + id_size), string.sub(value, at + 1 + id_size)
  end

  local function closed(first, due, number, queue, id, latest)
    return struct.pack('>dddB', first, due, number, #queue) .. queue .. string.char(#id) .. id .. latest
  end

  made.opened, made.closed = opened, closed

  -- Of an extra's value with spans before the key: the key, the spans.
  function made.spans(value)
    local first, second, key = string.match(value, '^(%d+),?(%d*)%z(.+)$')
    return key, tonumber(first), tonumber(second)
  end

  local function body_at(m)
    local head = string.byte(m, 2)
    local at = head + 2 + string.byte(m, head + 1)
    return string.byte(m, 3) >= 0x80 and at + 2 + struct.unpack('>H', m, at) or at
  end

  -- The first call's message with the latest one's arguments and `expires`.
  function made.merged(m, latest)
    return string.sub(m, 1, 25) .. string.sub(latest, 26, 33) .. string.sub(m, 34, body_at(m) - 1) .. string.sub(latest, body_at(latest))
  end

  -- Of a message's extras: the tag and the key by which it is looked for, if it has one that is freed.
  function made.key_of(m)
    local extras = limit.extras_of(m)
    if not extras then return nil end
    if extras[UNIQUE] then return UNIQUE, extras[UNIQUE], extras[UNTIL_START] end
    if extras[DEBOUNCE] then return DEBOUNCE, (made.spans(extras[DEBOUNCE])) end
    return nil
  end

  -- Of one that waits: as it would be handed out.
  function made.shown(m)
    local tag, key = made.key_of(m)
    local value = tag == DEBOUNCE and redis.call('HGET', root .. 'debounced', key)
    if not value then return m end
    local _, _, _, _, id, latest = opened(value)
    return id == id_of(m) and latest ~= '' and made.merged(m, latest) or m
  end

  -- The key is free, if the message of this id has it.
  function made.free(tag, key, id)
    local all = root .. (tag == UNIQUE and 'uniques' or 'debounced')
    local value = redis.call('HGET', all, key)
    if not value then return end
    if tag == DEBOUNCE then
      local _, _, _, _, owner = opened(value)
      value = owner
    end
    if value == id then redis.call('HDEL', all, key) end
  end

  -- It is handed out; answers with the message as it is from now on.
  function made.begun(m)
    local tag, key, start = made.key_of(m)
    if not tag or (tag == UNIQUE and not start) then return m end
    local shown = made.shown(m)
    made.free(tag, key, id_of(m))
    return shown
  end

  function made.ended(m)
    local tag, key = made.key_of(m)
    if tag then made.free(tag, key, id_of(m)) end
  end

  -- It has ended, and nothing is at hand but its id and its record.
  function made.ended_by_record(id)
    local value = redis.call('HGET', root .. 'm:' .. id, 'u')
    if value then made.free(string.byte(value), string.sub(value, 2), id) end
  end

  -- May it have its unique key (again)? Then it has it, and nil is the answer; else the id of the one that has it.
  function made.take(m, key)
    local owner = redis.call('HGET', root .. 'uniques', key)
    if owner then return owner end
    redis.call('HSET', root .. 'uniques', key, id_of(m))
    return nil
  end

  -- Its record, if it has one, says which key it has.
  function made.record(m)
    local tag, key = made.key_of(m)
    if tag and redis.call('EXISTS', root .. 'm:' .. id_of(m)) == 1 then
      redis.call('HSET', root .. 'm:' .. id_of(m), 'u', string.char(tag) .. key)
    end
  end

  return made
end

-- It is gone, for good or as a dead letter: it stands for nobody any more.
local function ended(root, m)
  if has_extras(m) then keyed(root).ended(m) end
end
