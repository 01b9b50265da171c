-- Settle what is finished and claim more: the hot path.
-- KEYS  1 root · 2 workers (zset) · 3 the holder's hash h:HOLDER · 4 what was taken from it, k:HOLDER (zset)
-- ARGV  1 sequence · 2 limit · 3 dedupe ms · 4 ms that a record is kept after its end · 5 index of the first plain settle ·
--       6 index of the first other settle ·
--       7 the caller's order of its settles: p plain, o other, f of another holder; '' for all of them plain
--       8 … queues to claim from, in order · plain settles: fields of deliveries that are done, without a result ·
--       other settles: field, kind, a, b, number of `then` arguments, those (see parts/outcome.lua, parts/accept.lua);
--       of kind N (it goes on as other nodes; a: needs, b: value) the `then` begin with the number of arguments of nodes, and those
-- Made from root: r:PRIORITY:QUEUE s:QUEUE t:QUEUE a:QUEUE queues ids serial paused tombs z:QUEUE dead died buried
--                 deadsize recorded m:ID n:ID · flows: see parts/flow.lua
-- Returns {'FENCED'} not admitted · {'LATE'} lease ended · {'SEQUENCE', last} ·
--         {'OK', verdicts (w won, s superseded, a absent; in the caller's order), next due in ms or -1, now,
--          dropped (id, queue, reason …), deliveries (as kept: queue, envelope), their indexes (only when repeated)}
-- Cost: O(settles + claimed), at most 1,000 promoted and 1,000 dropped. Runs over `maxmemory`, unless it carries `then`.
--       On the plain path, per exchange: 7 calls, 2 more with settles, 2 more for each queue, 3 more for each list that has something.
-- @include clock
local root, held, taken = KEYS[1], KEYS[3], KEYS[4]
local seq, limit, dedupe_ms, record_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local plain_at, other_at, order = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local FIRST_QUEUE = 8
local now = server_now()
local MAX_STEP = 1000
local SOON = 5000

local state = redis.call('HMGET', held, 'w', 's', 'v', 'd', 'm')
if not state[1] then return {'FENCED'} end
local lease = redis.call('ZSCORE', KEYS[2], state[1])
if not lease then return {'FENCED'} end
if tonumber(lease) <= now then return {'LATE'} end

local last = tonumber(state[2])
local hold, values, said, due = {}, {}, nil, nil
local receipts = ARGV[1] .. ':'

-- The plain path: what nearly every exchange is, without a function, since each one that a script makes costs every call of it a
-- third of a microsecond, and ten times that on a server that was idle. Settles with nothing to do but to remove a delivery;
-- nothing due, cancelled or paused; messages with nothing to look at but their place. Nothing is decided here otherwise than
-- below, where all else goes on from where this stopped: `said` once it has settled, `values` with what it has claimed.
local PLAIN = 0x01294000 -- version 1, a head of 41 bytes, no flag but RAW_ID
local plain = seq == last + 1 and order == '' and other_at > #ARGV and not state[5] and limit <= MAX_STEP and other_at - plain_at <= MAX_STEP
if plain then
  redis.call('HDEL', held, 'd') -- the first write: see below
  if other_at > plain_at then
    local there = redis.call('HMGET', held, unpack(ARGV, plain_at, other_at - 1))
    for i = 1, #there do plain = plain and there[i] end
    if plain then redis.call('HDEL', held, unpack(ARGV, plain_at, other_at - 1)) end
  end
  if plain then said = string.rep('w', other_at - plain_at) end
end
plain = plain and redis.call('EXISTS', root .. 'tombs', root .. 'paused') == 0
if plain then
  for i = FIRST_QUEUE, plain_at - 1 do
    local first = redis.call('ZRANGE', root .. 's:' .. ARGV[i], 0, 0, 'WITHSCORES')[2]
    local at = first and tonumber(first)
    if at and at <= now + SOON then plain = false end
    if at and (not due or at < due) then due = at end
  end
end
local queue_at = FIRST_QUEUE
while plain and queue_at < plain_at do
  local queue, keys = ARGV[queue_at], {}
  local prefix, token = string.char(#queue) .. queue, root .. 't:' .. queue
  for priority = 9, 0, -1 do keys[10 - priority] = root .. 'r:' .. priority .. ':' .. queue end
  local lists, at, looked = redis.call('EXISTS', unpack(keys)), 1, #values < limit
  while plain and lists > 0 and #values < limit do
    local want = limit - #values
    local batch = redis.call('LPOP', keys[at], want)
    local before = #values
    for i = 1, batch and #batch or 0 do
      local m = batch[i]
      if #m < 58 then plain = false break end
      local route, expires, size = struct.unpack('>I4xxxxxxxxxxxxxxxxxxxxxI8xxxxxxxxB', m)
      if route ~= PLAIN or size ~= 16 or (expires > 0 and expires <= now) then plain = false break end
      local count = before + i
      local value = prefix .. m
      hold[2 * count - 1] = receipts .. (count - 1)
      hold[2 * count] = value
      values[count] = value
    end
    if not plain then
      for i = #values, before + 1, -1 do hold[2 * i - 1], hold[2 * i], values[i] = nil, nil, nil end
      for i = #batch, 1, -1 do redis.call('LPUSH', keys[at], batch[i]) end
    elseif batch then
      if #batch < want then lists = lists - 1 end
    end
    at = at + 1
  end
  if plain and lists > 0 and redis.call('EXISTS', unpack(keys)) > 0 then
    if redis.call('EXISTS', token) == 0 then redis.call('RPUSH', token, '1') end
  elseif plain and looked then
    redis.call('DEL', token, root .. 'a:' .. queue)
  end
  queue_at = queue_at + 1
end
if plain then
  hold[#hold + 1] = 's'
  hold[#hold + 1] = ARGV[1]
  hold[#hold + 1] = 'v'
  hold[#hold + 1] = said
  for i = 1, #hold, MAX_STEP do redis.call('HSET', held, unpack(hold, i, math.min(i + MAX_STEP - 1, #hold))) end
  do return {'OK', said, due and due - now or -1, now, {}, values} end
end

-- @include route record ring place node flow member ending front bury accept outcome promote holder

local function next_due_of(due)
  return due and math.max(due - now, 0) or -1
end

local function repeated()
  local due, values, indexes = nil, {}, {}
  for i = FIRST_QUEUE, plain_at - 1 do
    local first = redis.call('ZRANGE', root .. 's:' .. ARGV[i], 0, 0, 'WITHSCORES')
    if first[2] and (not due or tonumber(first[2]) < due) then due = tonumber(first[2]) end
  end
  for _, one in ipairs(deliveries_of(held)) do
    if one[1] == seq then
      values[#values + 1] = one[4]
      indexes[#indexes + 1] = one[2]
    end
  end
  return {'OK', state[3], next_due_of(due), now, state[4] and cmsgpack.unpack(state[4]) or {}, values, indexes}
end

if seq == last and seq > 0 then return repeated() end
if seq ~= last + 1 then return {'SEQUENCE', last} end

-- The first write decides whether a Redis older than 7 runs a script over `maxmemory`: with `then` it must be one that is
-- refused, without it one that never is.
local at = other_at
while at <= #ARGV do
  local extra = tonumber(ARGV[at + 4])
  if extra > 0 then redis.call('HSET', held, 'v', state[3]) end
  at = at + 5 + extra
end
redis.call('HDEL', held, 'd')

local dropped, verdicts = {}, {}
-- Has this holder ever been handed a message of which an account is kept (a record, a flow)? Nobody else's settles are looked into.
local accounted = state[5]

local function missing(field)
  return redis.call('ZSCORE', taken, field) and 's' or 'a'
end

local function settle_plain()
  for from = plain_at, other_at - 1, CHUNK do
    local to = math.min(from + CHUNK - 1, other_at - 1)
    local there = redis.call('HMGET', held, unpack(ARGV, from, to))
    for i = 1, #there do
      local value = there[i]
      verdicts[#verdicts + 1] = value and 'w' or missing(ARGV[from + i - 1])
      if value and accounted then
        local _, m = queue_and_message(value)
        ended(root, now, m, 'D', '', '')
      end
    end
    redis.call('HDEL', held, unpack(ARGV, from, to))
  end
end

local function settle_others()
  local at = other_at
  while at <= #ARGV do
    local field, kind, a, b, extra = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4])
    local value = redis.call('HGET', held, field)
    if not value then
      verdicts[#verdicts + 1] = missing(field)
    else
      redis.call('HDEL', held, field)
      verdicts[#verdicts + 1] = 'w'
      local queue, m = queue_and_message(value)
      local nodes = 0
      if kind == 'N' then
        nodes = 1 + tonumber(ARGV[at + 5])
        if is_tracked(m) and readable(m) then records().finish(root, now, m, 'D', '', '') end
        if has_extras(m) and readable(m) then members().replaced(root, now, m, tonumber(a), b, ARGV, at + 6, at + 4 + nodes) end
      else
        local reason = apply_outcome(root, now, queue, m, kind, a, b)
        if reason then note(dropped, queue, m, reason) end
      end
      if extra > nodes then accept(root, now, ARGV, at + 5 + nodes, at + 4 + extra, dedupe_ms, record_ms) end
    end
    at = at + 5 + extra
  end
end

-- Kept and answered in the order that was asked in, so that a repetition needs no settles to answer the same.
local function in_callers_order()
  if order == '' then return table.concat(verdicts) end
  local plain, other, ordered = 0, other_at - plain_at, {}
  for letter in string.gmatch(order, '.') do
    if letter == 'p' then
      plain = plain + 1
      ordered[#ordered + 1] = verdicts[plain]
    elseif letter == 'o' then
      other = other + 1
      ordered[#ordered + 1] = verdicts[other]
    else
      ordered[#ordered + 1] = 'a'
    end
  end
  return table.concat(ordered)
end

-- Claiming -----------------------------------------------------------------------------------------------------------

local drops, over = 0, false
-- Is what stands next to be handed out alone, and this holder has something in hand?
local barred = false
local holder, tombs, graves = string.sub(held, #root + 3), false, nil

local function hand_out(prefix, m, special)
  local count, value = #values, prefix .. m
  local field = receipts .. count
  hold[2 * count + 1] = field
  hold[2 * count + 2] = value
  values[count + 1] = value
  if special == 0 then return end
  if is_tracked(m) then
    records().started(root, now, m, holder, field)
    accounted = '1'
  end
  if has_extras(m) and members().moved(root, m, '@' .. field .. ' ' .. holder) then accounted = '1' end
end

-- Why it is not to be handed out at all, or nil and those of its flags that make handing it out special.
local function refusal(queue, m)
  local flags, expires = readable(m)
  if not flags then
    bury(root, now, queue, m, 'unreadable', '')
    return 'unreadable'
  end
  -- Whoever cancelled it has told its record and its flow.
  if graves and redis.call('ZREM', graves, id_of(m)) == 1 then return 'cancelled' end
  if flags >= EXTRA and members().refuses(root, m) then
    ended(root, now, m, 'V', 'cancelled', '')
    return 'cancelled'
  end
  if expires > 0 and expires <= now then
    ended(root, now, m, 'X', 'expired', '')
    return 'expired'
  end
  return nil, bit.band(flags, SPECIAL + EXTRA)
end

local function holds_nothing()
  return #values == 0 and redis.call('HLEN', held) <= (state[5] and 4 or 3)
end

-- Take from one list, which begins with `head`; true if the queue's claim ends here.
local function claim_list(key, head, queue, prefix)
  while #values < limit do
    -- Popping one is enough where one is all that can be given.
    local flags = readable(head)
    local want = flags and bit.band(flags, HANDED_ALONE) ~= 0 and 1 or math.min(limit - #values, MAX_STEP)
    local batch = redis.call('LPOP', key, want)
    for i, m in ipairs(batch) do
      local reason, special = refusal(queue, m)
      if reason then
        note(dropped, queue, m, reason)
        drops = drops + 1
      elseif bit.band(special, HANDED_ALONE) == 0 then
        hand_out(prefix, m, special)
      else
        local given = holds_nothing()
        if given then hand_out(prefix, m, special) end
        local rest = {}
        for j = #batch, i + (given and 1 or 0), -1 do rest[#rest + 1] = batch[j] end
        if #rest > 0 then redis.call('LPUSH', key, unpack(rest)) end
        over, barred = given, not given
        return true
      end
    end
    if drops >= MAX_STEP then
      over = true
      return true
    end
    head = #batch == want and redis.call('LINDEX', key, 0)
    if not head then return false end
  end
  return true
end

local function keys_of(queue)
  local keys = {}
  for priority = 9, 0, -1 do keys[#keys + 1] = ready_key(root, queue, priority) end
  return keys
end

local function claim_queue(queue)
  local keys, prefix = keys_of(queue), string.char(#queue) .. queue
  local stopped = false
  barred = false
  graves = tombs and redis.call('SISMEMBER', root .. 'tombs', queue) == 1 and root .. 'z:' .. queue or nil
  -- Nearly all stand in one list, or nothing stands in any.
  local lists = redis.call('EXISTS', unpack(keys))
  for _, key in ipairs(keys) do
    if lists == 0 or stopped then break end
    local head = redis.call('LINDEX', key, 0)
    if head then
      lists = lists - 1
      stopped = claim_list(key, head, queue, prefix)
    end
  end
  if graves and redis.call('EXISTS', graves) == 0 then redis.call('SREM', root .. 'tombs', queue) end
  -- Whoever leaves something behind wakes the next one; whoever leaves nothing takes the token with him.
  if stopped and redis.call('EXISTS', unpack(keys)) > 0 then
    ring(root, queue, barred and 'a:' or nil)
  elseif not stopped then
    redis.call('DEL', root .. 't:' .. queue, root .. 'a:' .. queue)
  end
end

local function claim()
  local budget, due, soon = MAX_STEP, nil, nil
  local before = #dropped
  for i = FIRST_QUEUE, plain_at - 1 do
    local moved, _, next = promote(root, now, ARGV[i], budget, dropped)
    budget = budget - moved
    if next then
      if not due or next < due then due = next end
      if next - now <= SOON then
        soon = soon or {}
        soon[#soon + 1] = ARGV[i]
      end
    end
  end
  drops = (#dropped - before) / 3
  tombs = redis.call('EXISTS', root .. 'tombs') == 1
  local paused = redis.call('EXISTS', root .. 'paused') == 1
  for i = FIRST_QUEUE, plain_at - 1 do
    local queue = ARGV[i]
    if not (paused and redis.call('SISMEMBER', root .. 'paused', queue) == 1) then
      if #values < limit and not over then
        claim_queue(queue)
      elseif redis.call('EXISTS', unpack(keys_of(queue))) > 0 then
        ring(root, queue)
      end
    end
  end
  -- A holder that is busy now cannot wait for what is due next: another idle one shall, of each queue, since not all serve all.
  if soon and #values > 0 then
    for _, queue in ipairs(soon) do ring(root, queue) end
  end
  return due
end

if not said then
  settle_plain()
  settle_others()
  said = in_callers_order()
end
due = claim()
redis.call('HSET', held, 's', ARGV[1], 'v', said)
if accounted and not state[5] then redis.call('HSET', held, 'm', accounted) end
if #dropped > 0 then redis.call('HSET', held, 'd', cmsgpack.pack(dropped)) end
for i = 1, #hold, CHUNK do
  redis.call('HSET', held, unpack(hold, i, math.min(i + CHUNK - 1, #hold)))
end
return {'OK', said, next_due_of(due), now, dropped, values}
