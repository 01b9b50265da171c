-- Members of flows: nodes that are added, and what becomes of their messages. Needs: route, flow.
-- Made when it is first called for, as flows() is.
local joining
local function members()
  if joining then return joining end
  local made, core = {}, flows()
  joining = made
  local load, save, node_of, change, keep, whole = core.load, core.save, core.node_of, core.change, core.keep, core.whole
  local put, speak, look, go_on, leaves, fail = core.put, core.speak, core.look, core.go_on, core.leaves, core.fail

  -- Where a message says that it belongs: flow, number, and its id as stored. Nil for one that is no member. `m` is readable and has extras.
  local function place_of(m)
    local flags, head = struct.unpack('>H', m, 3), string.byte(m, 2)
    local size = string.byte(m, head + 1)
    local at, flow, number = head + 2 + size, nil, nil
    local stop = at + 2 + struct.unpack('>H', m, at)
    at = at + 2
    while at < stop do
      local tag, length = struct.unpack('>BH', m, at)
      if tag == FLOW then flow = string.sub(m, at + 3, at + 2 + length) end
      if tag == NODE and length >= 9 then number = whole(struct.unpack('>I8', m, at + 3)) end
      at = at + 3 + length
    end
    if not flow or not number then return nil end
    return flow, number, (flags % 0x8000 >= RAW_ID and 'r' or 't') .. string.sub(m, head + 2, head + 1 + size)
  end

  -- Building -----------------------------------------------------------------------------------------------------------

  -- Nodes as they stand in args[at .. stop]: number, flags, needs, expires after, label, how many ranges, those, and queue, due, after, envelope
  -- ('' for none). Calls act(number, node, message) for each; message is nil for a gate.
  local function each_node(args, at, stop, act)
    while at <= stop do
      local ranges = tonumber(args[at + 5])
      local followers, edges = {}, 0
      for i = at + 6, at + 5 + 2 * ranges do followers[#followers + 1] = tonumber(args[i]) end
      for i = 1, #followers, 2 do edges = edges + followers[i + 1] - followers[i] + 1 end
      local from = at + 6 + 2 * ranges
      local node = {BLOCKED, tonumber(args[at + 2]), 0, tonumber(args[at + 1]), NOTHING, NOTHING, edges, 0, edges, tonumber(args[at + 3]), '', '', args[at + 4], '', ''}
      local m, message = args[from + 3], nil
      if m ~= '' then
        node[ID], node[QUEUE] = id_of(m), args[from]
        message = cmsgpack.pack({args[from], tonumber(args[from + 1]), tonumber(args[from + 2]), m})
      end
      for i = 1, #followers do node[WHERE + i] = followers[i] end
      act(args[at], node, message)
      at = from + 4
    end
  end

  local function add(entry, args, at, stop, now)
    each_node(args, at, stop, function(number, node, message)
      if node_of(entry, number) then return end
      if has(node, HELD) then node[LEFT] = 0 end -- what it waits for is said at the close
      entry.nodes[number] = node
      entry.messages[number] = message
      change(entry, number)
      entry.wa = entry.wa + 1
      if not has(node, GATE) then entry.t = entry.t + 1 end
      look(entry, number, node, nil, now)
    end)
  end

  function made.add(root, now, id, args, at, stop)
    local entry = load(root, id)
    if not entry or not entry.open then return false end
    redis.call('HSET', entry.key, 'u', whole(now))
    redis.call('ZADD', root .. 'fopen', whole(now), id)
    add(entry, args, at, stop, now)
    go_on(entry, now)
    save(entry)
    return true
  end

  function made.close(root, now, id, args, at, stop)
    local entry = load(root, id)
    if not entry or entry.ended then return false end
    if not entry.open then return true end
    entry.open = false
    redis.call('HSET', entry.key, 'u', whole(now), 'o', '0')
    redis.call('ZREM', root .. 'fopen', id)
    each_node(args, at, stop, function(number, node, message)
      local held = node_of(entry, number)
      if not held then return end
      entry.t = entry.t + (has(held, GATE) and 1 or 0) - (has(node, GATE) and 1 or 0)
      held[FLAGS] = bit.band(node[FLAGS], bit.bnot(HELD))
      held[LEFT] = held[LEFT] + node[LEFT]
      held[EXPIRES], held[ID], held[QUEUE], held[LABEL] = node[EXPIRES], node[ID], node[QUEUE], node[LABEL]
      entry.messages[number] = message
      change(entry, number)
      look(entry, number, held, nil, now)
    end)
    go_on(entry, now)
    save(entry)
    return true
  end

  -- Ends and moves of messages ---------------------------------------------------------------------------------------

  -- The flow, the number and the node of a message, if it is a member of one that is there.
  local function member(root, m)
    local id, number, name = place_of(m)
    local entry = id and load(root, id)
    local node = entry and node_of(entry, number)
    if not node or node[ID] ~= name then return nil end
    return entry, number, node
  end

  made.member = member

  function made.is_failed(node)
    return node[STATE] == FAILED or node[STATE] == DROPPED
  end

  -- The id of its message and where that stands, if it is in the queues' hands.
  function made.standing(node)
    if node[STATE] == READY then return node[ID], node[QUEUE], node[WHERE] end
    return nil
  end

  -- A failed or dropped node is ready once more, its counters begun anew. Answers with the name of its dead letter, or '', and its bytes.
  function made.again(entry, number, node, now, revive)
    local root = entry.root
    local messages, failed = root .. 'fm:' .. entry.id, root .. 'fz:' .. entry.id
    local queue, _, _, m = unpack(cmsgpack.unpack(redis.call('HGET', messages, number)))
    local letter = redis.call('HGET', failed, number)
    redis.call('HDEL', messages, number)
    redis.call('HDEL', failed, number)
    redis.call('HDEL', root .. 'fr:' .. entry.id, number)
    entry.fl, entry.mv = entry.fl - 1, entry.mv + 1
    if not has(node, CONTINUE) then
      entry.st = entry.st - 1
      if entry.st == 0 then redis.call('HDEL', entry.key, '1n', '1i', '1r', '1e') end
    end
    if entry.fi > 0 then
      redis.call('ZREM', root .. 'fends', entry.id)
      redis.call('HDEL', entry.key, 'en')
    end
    entry.fi, entry.td = 0, 0
    node[STATE], node[REASON] = READY, ''
    node[WHERE] = put(entry, now, queue, 0, 0, revive(m), true)
    change(entry, number)
    speak(entry, number, node)
    return letter, #m
  end

  -- It was waiting in a queue and was taken out of there, since its flow was ended.
  function made.dropped(entry, number, node)
    leaves(entry, number, node, DROPPED)
    node[REASON] = 'cancelled'
    entry.fl = entry.fl + 1
    if has(node, KEEP) then keep(entry, number, '-\9cancelled') end
  end

  -- Was its flow ended, so that it must not start?
  function made.refuses(root, m)
    local id = place_of(m)
    return id and redis.call('HGET', root .. 'f:' .. id, 'e') and true or false
  end

  -- A member's message has moved: '' it is ready, `due:number` scheduled, `@field holder` in somebody's hands.
  function made.moved(root, m, where)
    local id, number, name = place_of(m)
    local key = id and root .. 'fn:' .. id
    local packed = id and redis.call('HGET', key, number)
    if not packed then return false end
    local node = cmsgpack.unpack(packed)
    if node[ID] ~= name or node[STATE] ~= READY then return true end
    node[WHERE] = where
    redis.call('HSET', key, number, cmsgpack.pack(node))
    return true
  end

  function made.done(root, now, m, result)
    local entry, number, node = member(root, m)
    if not entry or node[STATE] ~= READY then return end
    leaves(entry, number, node, DONE)
    entry.dn = entry.dn + 1
    if has(node, KEEP) then keep(entry, number, '+' .. (result or '')) end
    speak(entry, number, node)
    go_on(entry, now)
    save(entry)
  end

  -- `letter`: the name of its dead letter; nil: it is gone without one. Its queue is the node's.
  function made.failed(root, now, m, reason, error, letter)
    local entry, number, node = member(root, m)
    if not entry or node[STATE] ~= READY then return end
    fail(entry, number, node, m, reason, error, letter, now)
    go_on(entry, now)
    save(entry)
  end

  -- The member is a gate from now on, before which the nodes in args[at .. stop] stand.
  function made.replaced(root, now, m, needs, value, args, at, stop)
    local entry, number, node = member(root, m)
    if not entry or node[STATE] ~= READY then return end
    if entry.ended then return made.failed(root, now, m, 'cancelled', '') end
    leaves(entry, number, node, BLOCKED)
    entry.wa = entry.wa + 1
    node[LEFT], node[WHERE] = needs, value -- which is nobody's to see before it is done
    add(entry, args, at, stop, now)
    look(entry, number, node, nil, now)
    go_on(entry, now)
    save(entry)
  end

  return made
end
