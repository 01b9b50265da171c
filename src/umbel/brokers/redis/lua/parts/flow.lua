-- Flows: nodes that wait for each other, and what their edges say. Needs: route, record, ring, place, bury.
-- The rules are those of umbel/joins.py and docs/internals/flows.md; what is called here what is called there.
--   f:FLOW   hash: o '1' while open · e how it was ended from outside (F, V) · counts: wa blocked nodes, mv in the queues' hands, t tasks, dn, fl,
--            ab, st failures that are no value · td '1' once its handler was sent · fi finished, en till when it is kept, ms · sp '1' while fx: is not empty ·
--            1n 1i 1r 1e the first failure · lb rs oe label, result, on_error · hq hd ha hm handler · l L T times to keep · c u times · w '1' while
--            somebody waits for its end · cu where a sweep goes on: see parts/steering.lua
--   fn:FLOW  hash: number -> node, packed: see NODE below
--   fm:FLOW  hash: number -> message of a node that is in no queue (blocked, failed, dropped): queue, due, after, envelope, packed
--   fr:FLOW  hash: number -> kept value
--   fz:FLOW  hash: number of a failed or dropped node -> the name of its dead letter, or ''
--   fx:FLOW  list of nodes whose edges have not said all yet
--   fs:FLOW  stream: news for who waits for its end
--   flows    zset of all flows by the ms of their beginning · fopen of those that are open, by the ms when they were last touched · fends of those that
--            are finished, by the ms until when they are kept · fbusy set of those that maintenance has to go on with
--   fdead    hash: name of a member's dead letter -> flow
-- Made when it is first called for, as records() is, and for the same reason.
local flowing
local function flows()
  if flowing then return flowing end
  local made = {}
  flowing = made
  local MAX_ARRIVALS, RIDE_MAX = 1000, 16384
  -- tags of extras
  local FLOW, NODE, INPUT, FAILURE = 3, 4, 16, 17
  -- NODE: an array with these places, then the followers, first and last of each range.
  local STATE, LEFT, NEVERS, FLAGS, SAID, SAYING, AT, QUEUED, EDGES, EXPIRES, ID, QUEUE, LABEL, REASON, WHERE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
    12, 13, 14, 15
  local BLOCKED, READY, DONE, FAILED, DROPPED, ABANDONED = 0, 1, 2, 3, 4, 5
  local NOTHING, OK, NEVER = 0, 1, 2
  local CONTINUE, KEEP, RIDE, HELD, GATE = 1, 2, 4, 8, 16
  local COUNTS = {'wa', 'mv', 't', 'dn', 'fl', 'ab', 'st', 'fi', 'sp', 'td'}
  local NEWS_MS = 60000

  local function whole(number)
    return string.format('%.0f', number)
  end

  local function has(node, flag)
    return bit.band(node[FLAGS], flag) ~= 0
  end

  -- Where a message says that it belongs: flow, number. Nil for one that is no member.
  local function place_of(m)
    local flow = extra_of(m, FLOW)
    local node = flow and extra_of(m, NODE)
    if not node or #node < 9 then return nil end
    return flow, whole(struct.unpack('>I8', node))
  end

  -- A flow as one step sees it: read once, changed here, written by `save`. Nil if it is not there.
  local function load(root, id)
    local key = root .. 'f:' .. id
    local v = redis.call('HMGET', key, 'c', 'o', 'e', '1i', 'wa', 'mv', 't', 'dn', 'fl', 'ab', 'st', 'fi', 'sp', 'td')
    if not v[1] then return nil end
    local entry = {id = id, root = root, key = key, open = v[2] == '1', ended = v[3] or nil, nodes = {}, changed = {}, messages = {}, fresh = {}, was = {}, values = {}}
    for i, name in ipairs(COUNTS) do
      entry[name] = tonumber(v[4 + i] or 0)
      entry.was[name] = entry[name]
    end
    entry.final = entry.ended or entry.st > 0 or entry.fi > 0
    return entry
  end

  local function node_of(entry, number)
    local node = entry.nodes[number]
    if node == nil then
      local packed = redis.call('HGET', entry.root .. 'fn:' .. entry.id, number)
      node = packed and cmsgpack.unpack(packed) or false
      entry.nodes[number] = node
    end
    return node or nil
  end

  local function change(entry, number)
    entry.changed[number] = true
  end

  local function keep(entry, number, value)
    entry.values[number] = value
    redis.call('HSET', entry.root .. 'fr:' .. entry.id, number, value)
  end

  local function write(key, flat)
    for i = 1, #flat, CHUNK do redis.call('HSET', key, unpack(flat, i, math.min(i + CHUNK - 1, #flat))) end
  end

  local function news(entry)
    if redis.call('HDEL', entry.key, 'w') == 0 then return end
    local key = entry.root .. 'fs:' .. entry.id
    redis.call('XADD', key, '*', 's', '1')
    redis.call('PEXPIRE', key, NEWS_MS)
  end

  local function save(entry)
    local flat = {}
    for number in pairs(entry.changed) do
      flat[#flat + 1] = number
      flat[#flat + 1] = cmsgpack.pack(entry.nodes[number])
    end
    write(entry.root .. 'fn:' .. entry.id, flat)
    flat = {}
    for number, message in pairs(entry.messages) do
      flat[#flat + 1] = number
      flat[#flat + 1] = message
    end
    write(entry.root .. 'fm:' .. entry.id, flat)
    flat = {}
    for _, name in ipairs(COUNTS) do
      if entry[name] ~= entry.was[name] then
        flat[#flat + 1] = name
        flat[#flat + 1] = whole(entry[name])
      end
    end
    write(entry.key, flat)
    if not entry.final and (entry.ended or entry.st > 0 or entry.fi > 0) then news(entry) end
  end

  -- Messages ---------------------------------------------------------------------------------------------------------

  local function with_extra(m, tag, value)
    local extra = string.char(tag) .. struct.pack('>H', #value) .. value
    local flags, head = struct.unpack('>H', m, 3), string.byte(m, 2)
    local at = head + 1 + string.byte(m, head + 1)
    if flags < EXTRA then
      return string.sub(m, 1, 2) .. struct.pack('>H', flags + EXTRA) .. string.sub(m, 5, at) .. struct.pack('>H', #extra) .. extra .. string.sub(m, at + 1)
    end
    local size = struct.unpack('>H', m, at + 1)
    if size + #extra > 0xFFFF then return m end
    return string.sub(m, 1, at) .. struct.pack('>H', size + #extra) .. string.sub(m, at + 3, at + 2 + size) .. extra .. string.sub(m, at + 3 + size)
  end

  local function with_times(m, enqueued, expires)
    return string.sub(m, 1, 17) .. struct.pack('>I8', enqueued) .. (expires and struct.pack('>I8', expires) or string.sub(m, 26, 33)) .. string.sub(m, 34)
  end

  -- Enqueue; answers with where it stands: '' ready, else `due:number` in its queue's schedule; and with the reason if it was dropped instead.
  local function put(entry, now, queue, due, after, m)
    local root = entry.root
    due = math.max(due, after > 0 and now + after or 0)
    redis.call('SADD', root .. 'queues', queue)
    redis.call('SADD', root .. 'recorded', queue) -- a purge has to look at each
    -- It stands there still, cancelled, and was not met since: it only has to be left alone.
    local buried = redis.call('ZREM', root .. 'z:' .. queue, id_of(m)) == 1
    local extras = limits(root).extras_of(m)
    if extras then limits(root).know(extras) end
    local number, refused = nil, nil
    if not buried then number, refused = place(root, now, queue, due, m) end
    if is_tracked(m) then
      records().begin(root, now, queue, m, tonumber(redis.call('HGET', entry.key, 'l')), due, number)
      redis.call('HSET', root .. 'm:' .. id_of(m), 'i', '1')
      if refused then records().finish(root, now, m, records().REVOKED, refused, '') end
    end
    return number and whole(due) .. ':' .. whole(number) or '', refused
  end

  -- What edges say ---------------------------------------------------------------------------------------------------

  local function wants(node)
    if node[SAID] == OK or node[SAYING] == OK or node[STATE] == DONE then return OK end
    if node[STATE] == FAILED or node[STATE] == DROPPED then return has(node, CONTINUE) and OK or NEVER end
    return node[STATE] == ABANDONED and NEVER or NOTHING
  end

  local function speak(entry, number, node)
    if node[QUEUED] == 0 and not entry.ended and (wants(node) ~= node[SAID] or node[SAYING] ~= node[SAID]) then
      node[QUEUED] = 1
      entry.fresh[#entry.fresh + 1] = number
      change(entry, number)
    end
  end

  local function wait(entry, number, node, state)
    if node[STATE] == state then return end
    local step = state == ABANDONED and 1 or -1
    entry.wa = entry.wa - step
    if not has(node, GATE) then entry.ab = entry.ab + step end
    node[STATE] = state
    change(entry, number)
    speak(entry, number, node)
  end

  local fail

  local function release(entry, number, node, speaker, now)
    entry.wa = entry.wa - 1
    change(entry, number)
    local messages = entry.root .. 'fm:' .. entry.id
    local packed = entry.messages[number] or redis.call('HGET', messages, number)
    if not packed then
      node[STATE] = DONE
      if not has(node, GATE) then entry.dn = entry.dn + 1 end
      if node[WHERE] ~= '' then keep(entry, number, node[WHERE]) end
      node[WHERE] = ''
      speak(entry, number, node)
      return
    end
    if entry.messages[number] then entry.messages[number] = nil else redis.call('HDEL', messages, number) end
    local queue, due, after, m = unpack(cmsgpack.unpack(packed))
    m = with_times(m, now, node[EXPIRES] > 0 and now + node[EXPIRES])
    if speaker and has(node, RIDE) then
      local value = entry.values[speaker] or redis.call('HGET', entry.root .. 'fr:' .. entry.id, speaker)
      if value and #value <= RIDE_MAX then m = with_extra(m, INPUT, value) end
    end
    node[STATE] = READY
    entry.mv = entry.mv + 1
    local refused
    node[WHERE], refused = put(entry, now, queue, due, after, m)
    if refused then fail(entry, number, node, m, refused, '', nil, now) end
  end

  -- Is it ready, blocked or abandoned by now?
  local function look(entry, number, node, speaker, now)
    if (node[STATE] ~= BLOCKED and node[STATE] ~= ABANDONED) or entry.ended then return end
    if node[NEVERS] > 0 then
      wait(entry, number, node, ABANDONED)
    elseif node[LEFT] == 0 and not has(node, HELD) then
      wait(entry, number, node, BLOCKED)
      release(entry, number, node, speaker, now)
    else
      wait(entry, number, node, BLOCKED)
    end
  end

  -- The range of followers in which edge `at` (from 0) lies, and its number.
  local function edge_of(node, at)
    local i = WHERE + 1
    while at > node[i + 1] - node[i] do
      at = at - (node[i + 1] - node[i] + 1)
      i = i + 2
    end
    return i, node[i] + at
  end

  -- Let at most `bound` of its edges speak; answers with what is left of the bound.
  local function pass(entry, number, node, bound, now)
    change(entry, number)
    while true do
      if node[AT] >= node[EDGES] then
        node[SAID] = node[SAYING]
        local wanted = wants(node)
        if wanted == node[SAID] then return bound end
        node[SAYING], node[AT] = wanted, 0
      end
      if bound <= 0 then return bound end
      if node[EDGES] > 0 then
        local range, follower = edge_of(node, node[AT])
        local oks, nevers = node[SAYING] == OK and 1 or 0, (node[SAYING] == NEVER and 1 or 0) - (node[SAID] == NEVER and 1 or 0)
        while bound > 0 and node[AT] < node[EDGES] do
          if follower > node[range + 1] then
            range = range + 2
            follower = node[range]
          end
          local name = whole(follower)
          local other = node_of(entry, name)
          node[AT], bound, follower = node[AT] + 1, bound - 1, follower + 1
          if other then
            other[LEFT], other[NEVERS] = other[LEFT] - oks, other[NEVERS] + nevers
            change(entry, name)
            look(entry, name, other, number, now)
          end
        end
      end
    end
  end

  local function spoken(node)
    return node[AT] >= node[EDGES] and node[SAID] == node[SAYING] and node[SAID] == wants(node)
  end

  local end_it

  local function see_end(entry, now)
    if entry.open or entry.mv > 0 or entry.sp > 0 or entry.fi > 0 then return end
    entry.fi = now
    local root = entry.root
    if entry.wa > 0 and not entry.ended then end_it(entry, 'F', 'stuck', now) end
    local times = redis.call('HMGET', entry.key, 'T', 'l', 'L')
    local ttl = tonumber(times[1] or times[2])
    if not times[1] and (entry.ended == 'F' or (not entry.ended and entry.st > 0)) then ttl = math.max(ttl, tonumber(times[3])) end
    redis.call('HSET', entry.key, 'en', whole(now + ttl))
    redis.call('ZADD', root .. 'fends', whole(now + ttl), entry.id)
    redis.call('SREM', root .. 'fbusy', entry.id)
    redis.call('HDEL', entry.key, 'cu')
  end

  -- Let at most `bound` edges speak, those of this step first; then see whether the flow is over. What is left stands in fx:.
  local function go_on(entry, now, bound)
    bound = bound or MAX_ARRIVALS
    local later, at = entry.root .. 'fx:' .. entry.id, 1
    while bound > 0 do
      local number, fresh = entry.fresh[at], true
      if number then
        at = at + 1
      else
        fresh = false
        number = entry.sp > 0 and redis.call('LPOP', later)
        if not number then break end
      end
      local node = node_of(entry, number)
      if node then
        bound = pass(entry, number, node, bound, now)
        if spoken(node) then
          node[QUEUED] = 0
        elseif fresh then
          redis.call('RPUSH', later, number)
        else
          redis.call('LPUSH', later, number)
        end
      end
    end
    for i = at, #entry.fresh do redis.call('RPUSH', later, entry.fresh[i]) end
    entry.fresh = {}
    if bound <= 0 or entry.sp > 0 then
      local left = redis.call('EXISTS', later)
      if left > 0 and entry.sp == 0 then redis.call('SADD', entry.root .. 'fbusy', entry.id) end
      entry.sp = left
    end
    see_end(entry, now)
    return bound
  end

  local function first_failure(entry, number, m, reason, error, now)
    local id = m and id_of(m) or ''
    if not redis.call('HGET', entry.key, '1r') then
      redis.call('HSET', entry.key, '1n', number or '', '1i', id, '1r', reason, '1e', error)
    end
    if entry.td > 0 then return end
    local queue, due, after, handler = unpack(redis.call('HMGET', entry.key, 'hq', 'hd', 'ha', 'hm'))
    if not queue then return end
    entry.td = 1
    local said = number and struct.pack('>I8', tonumber(number)) or string.rep('\255', 8)
    for _, part in ipairs({entry.id, made.id_text(id), reason}) do
      part = string.sub(part, 1, 255)
      said = said .. string.char(#part) .. part
    end
    handler = with_extra(with_times(handler, now), FAILURE, said .. string.sub(error, 1, RIDE_MAX))
    put(entry, now, queue, tonumber(due), tonumber(after), handler)
  end

  -- An id as people read it.
  function made.id_text(id)
    if string.sub(id, 1, 1) ~= 'r' then return string.sub(id, 2) end
    local hex = string.gsub(string.sub(id, 2), '.', function(c) return string.format('%02x', string.byte(c)) end)
    return string.sub(hex, 1, 8) .. '-' .. string.sub(hex, 9, 12) .. '-' .. string.sub(hex, 13, 16) .. '-' .. string.sub(hex, 17, 20) .. '-' .. string.sub(hex, 21)
  end

  -- Nothing of it starts any more. `state`: F, V.
  function end_it(entry, state, reason, now)
    local root = entry.root
    entry.ended, entry.open, entry.fresh, entry.sp = state, false, {}, 0
    redis.call('HDEL', entry.key, 'o', 'cu')
    redis.call('HSET', entry.key, 'e', state)
    redis.call('ZREM', root .. 'fopen', entry.id)
    redis.call('DEL', root .. 'fx:' .. entry.id)
    if entry.mv > 0 then redis.call('SADD', root .. 'fbusy', entry.id) end
    if state == 'F' then first_failure(entry, nil, nil, reason, '', now) end
    see_end(entry, now)
  end

  -- Building -----------------------------------------------------------------------------------------------------------

  -- Nodes as they stand in args[at .. stop]: number, flags, needs, expires after, label, how many ranges, those, and queue, due, after, envelope
  -- ('' for none). Calls act(number, fields, followers, message) for each; message is nil for a gate.
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
    local id, number = place_of(m)
    local entry = id and load(root, id)
    local node = entry and node_of(entry, number)
    if not node or node[ID] ~= id_of(m) then return nil end
    return entry, number, node
  end

  local function leaves(entry, number, node, state)
    entry.mv = entry.mv - 1
    node[STATE], node[WHERE] = state, ''
    change(entry, number)
  end

  -- One that is there, and whose time is not over.
  function made.living(root, now, id)
    local entry = load(root, id)
    local ends = entry and entry.fi > 0 and redis.call('HGET', entry.key, 'en')
    if not entry or (ends and tonumber(ends) <= now) then return nil end
    return entry
  end

  made.member, made.load, made.save, made.go_on, made.end_it = member, load, save, go_on, end_it

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
    node[WHERE] = put(entry, now, queue, 0, 0, revive(m))
    change(entry, number)
    speak(entry, number, node)
    return letter, #m
  end

  -- A node of it by its number.
  function made.at(entry, number)
    return entry, number, node_of(entry, number)
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
    local id, number = place_of(m)
    local key = id and root .. 'fn:' .. id
    local packed = id and redis.call('HGET', key, number)
    if not packed then return false end
    local node = cmsgpack.unpack(packed)
    if node[ID] ~= id_of(m) or node[STATE] ~= READY then return true end
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

  function fail(entry, number, node, m, reason, error, letter, now)
    local root = entry.root
    leaves(entry, number, node, letter and FAILED or DROPPED)
    reason = string.sub(reason, 1, 255)
    node[REASON] = reason
    entry.messages[number] = cmsgpack.pack({node[QUEUE], 0, 0, m})
    redis.call('HSET', root .. 'fz:' .. entry.id, number, letter or '')
    if letter then redis.call('HSET', root .. 'fdead', letter, entry.id) end
    if has(node, KEEP) then keep(entry, number, '-' .. string.char(#reason) .. reason .. error) end
    entry.fl = entry.fl + 1
    if not has(node, CONTINUE) and not entry.ended then
      entry.st = entry.st + 1
      first_failure(entry, number, m, reason, error, now)
    end
    speak(entry, number, node)
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
