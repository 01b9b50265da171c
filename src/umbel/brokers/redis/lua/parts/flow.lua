-- Flows: nodes that wait for each other, and what their edges say. Needs: route, record, ring, place, node.
-- The rules are those of umbel/joins.py and docs/internals/flows.md; what is called here what is called there.
--   f:FLOW   hash: o '1' while open · e how it was ended from outside (F, V) · counts: wa blocked nodes, mv in the queues' hands, t tasks, dn, fl,
--            ab, st failures that are no value · td '1' once its handler was sent · fi finished, en till when it is kept, ms · sp '1' while fx: is not empty ·
--            1n 1i 1r 1e the first failure · lb rs oe label, result, on_error · hq hd ha hm handler · l L T times to keep · c u times · w '1' while
--            somebody waits for its end · cu where a sweep goes on: see parts/steering.lua
--   fn:FLOW  hash: number -> node, packed: see parts/node.lua
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
  local COUNTS = {'wa', 'mv', 't', 'dn', 'fl', 'ab', 'st', 'fi', 'sp', 'td'}
  local NEWS_MS = 60000

  local function whole(number)
    return string.format('%.0f', number)
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

  -- Enqueue; answers with where it stands: '' ready, else `due:number` in its queue's schedule. `once`: it stood in a queue before.
  local function put(entry, now, queue, due, after, m, once)
    local root = entry.root
    due = math.max(due, after > 0 and now + after or 0)
    -- A purge has to look at each. Who forgets a queue takes it out of both.
    if redis.call('SADD', root .. 'recorded', queue) == 1 then redis.call('SADD', root .. 'queues', queue) end
    -- One that was cancelled in its list and was not met since stands there still, and only has to be left alone.
    local there = once and redis.call('ZREM', root .. 'z:' .. queue, id_of(m)) == 1
    local number = not there and place(root, now, queue, due, m)
    if is_tracked(m) then
      records().begin(root, now, queue, m, tonumber(redis.call('HGET', entry.key, 'l')), due, number)
      redis.call('HSET', root .. 'm:' .. id_of(m), 'i', '1')
    end
    return number and whole(due) .. ':' .. whole(number) or ''
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
    node[WHERE] = put(entry, now, queue, due, after, m)
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

  -- One that is there, and whose time is not over.
  function made.living(root, now, id)
    local entry = load(root, id)
    local ends = entry and entry.fi > 0 and redis.call('HGET', entry.key, 'en')
    if not entry or (ends and tonumber(ends) <= now) then return nil end
    return entry
  end

  -- What the parts that build on this one use.
  made.load, made.save, made.node_of, made.change, made.keep, made.whole = load, save, node_of, change, keep, whole
  made.put, made.speak, made.look, made.go_on, made.first_failure, made.end_it = put, speak, look, go_on, first_failure, end_it

  return made
end
