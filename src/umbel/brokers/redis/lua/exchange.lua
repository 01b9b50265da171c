-- Settle what is finished and claim more: the hot path.
-- KEYS  1 root · 2 workers (zset) · 3 the holder's hash h:HOLDER · 4 what was taken from it, k:HOLDER (zset)
-- ARGV  1 sequence · 2 limit · 3 dedupe ms · 4 ms that a record is kept after its end · 5 index of the first plain settle ·
--       6 index of the first other settle ·
--       7 the caller's order of its settles: p plain, o other, f of another holder; '' for all of them plain
--       8 … queues to claim from, in order · plain settles: fields of deliveries that are done, without a result ·
--       other settles: field, kind, a, b, number of `then` arguments, those (see parts/outcome.lua, parts/accept.lua);
--       of kind N (it goes on as other nodes; a: needs, b: value) the `then` begin with the number of arguments of nodes, and those
-- Made from root: r:PRIORITY:QUEUE s:QUEUE t:QUEUE a:QUEUE queues ids serial paused tombs z:QUEUE dead died buried
--                 deadsize recorded m:ID n:ID · those of parts/lane.lua, limit.lua, keyed.lua, flow.lua
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

local state = redis.call('HMGET', held, 'w', 's', 'v', 'd', 'm', 'l')
if not state[1] then return {'FENCED'} end
local lease = redis.call('ZSCORE', KEYS[2], state[1])
if not lease then return {'FENCED'} end
if tonumber(lease) <= now then return {'LATE'} end

local last = tonumber(state[2])
local hold, values, said, due, watch = {}, {}, nil, nil, nil
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
    if plain and state[6] then -- some of its deliveries have extras: one of these?
      for i = 1, #there do plain = plain and string.byte(there[i], 4 + string.byte(there[i])) < 0x80 end
    end
    if plain then redis.call('HDEL', held, unpack(ARGV, plain_at, other_at - 1)) end
  end
  if plain then said = string.rep('w', other_at - plain_at) end
end
local marks = plain and redis.call('EXISTS', root .. 'tombs', root .. 'paused', root .. 'laned')
plain = marks == 0 or (marks == 1 and redis.call('EXISTS', root .. 'laned') == 1)
if plain and marks > 0 and plain_at > FIRST_QUEUE then
  local looks = redis.call('HMGET', root .. 'laned', unpack(ARGV, FIRST_QUEUE, plain_at - 1))
  for i = 1, #looks do
    if looks[i] then
      local at, written = struct.unpack('>dd', looks[i])
      -- a clock that went back makes void what was foreseen
      if at <= now or written > now then plain = false end
      if not due or at < due then due = at end
      if at <= now + SOON then
        watch = watch or {}
        watch[ARGV[FIRST_QUEUE + i - 1]] = true
      end
    end
  end
end
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
  if plain and (watch and watch[queue] and #values > 0 or lists > 0 and redis.call('EXISTS', unpack(keys)) > 0) then
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

-- @include route record ring limit lane place rank keyed node flow member ending front bury enter accept outcome promote holder

local function next_due_of(due)
  return due and math.max(due - now, 0) or -1
end

local function repeated()
  local due, values, indexes = nil, {}, {}
  for i = FIRST_QUEUE, plain_at - 1 do
    local first = redis.call('ZRANGE', root .. 's:' .. ARGV[i], 0, 0, 'WITHSCORES')
    if first[2] and (not due or tonumber(first[2]) < due) then due = tonumber(first[2]) end
    local at = lanes(root).looked(ARGV[i])
    if at and at > 0 and (not due or at < due) then due = at end
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
local holder = string.sub(held, #root + 3)
-- Has this holder ever been handed a tracked message? Nobody else's settles are looked into.
local recorded = state[5]
-- Of how many in its hands is more to be looked into than that?
local extras = tonumber(state[6] or 0)

local function missing(field)
  return redis.call('ZSCORE', taken, field) and 's' or 'a'
end

local function let_out(field, m, unbegun)
  extras = extras - 1
  let_go(root, holder, field, m, unbegun)
end

local function settle_plain()
  for from = plain_at, other_at - 1, CHUNK do
    local to = math.min(from + CHUNK - 1, other_at - 1)
    local there = redis.call('HMGET', held, unpack(ARGV, from, to))
    for i = 1, #there do
      local value = there[i]
      verdicts[#verdicts + 1] = value and 'w' or missing(ARGV[from + i - 1])
      -- its flags, behind the length of its queue's name, the name, and two bytes
      local high, low = 0, 0
      if value and (recorded or extras > 0) then high, low = string.byte(value, 4 + string.byte(value), 5 + string.byte(value)) end
      if high and (high >= 0x80 or low % 2 == TRACKED) then
        local _, m = queue_and_message(value)
        if has_extras(m) then let_out(ARGV[from + i - 1], m, false) end
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
      if has_extras(m) then let_out(field, m, kind == 'F' and b == '2') end
      local nodes = 0
      if kind == 'N' then
        nodes = 1 + tonumber(ARGV[at + 5])
        if is_tracked(m) and readable(m) then records().finish(root, now, m, 'D', '', '') end
        if has_extras(m) and readable(m) then members().replaced(root, now, m, tonumber(a), b, ARGV, at + 6, at + 4 + nodes) end
      else
        local reason = apply_outcome(root, now, queue, m, kind, a, b)
        if reason then note(dropped, queue, m, reason) end
      end
      if extra > nodes then accept(root, now, ARGV, at + 5 + nodes, at + 4 + extra, dedupe_ms, record_ms, dropped) end
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
local tombs, graves = false, nil

-- Which of the queues have lanes that may be served, or that wait for a time?
local looks = {}
-- @include claiming

local function claim()
  local budget, due, soon = MAX_STEP, nil, nil
  local before = #dropped

  local function comes(queue, at)
    if not due or at < due then due = at end
    if at - now <= SOON then
      soon = soon or {}
      soon[#soon + 1] = queue
    end
  end

  for i = FIRST_QUEUE, plain_at - 1 do
    local moved, _, next = promote(root, now, ARGV[i], budget, dropped)
    budget = budget - moved
    if next then comes(ARGV[i], next) end
  end
  drops = (#dropped - before) / 3
  tombs = redis.call('EXISTS', root .. 'tombs') == 1
  local paused, laned = redis.call('EXISTS', root .. 'paused') == 1, redis.call('EXISTS', root .. 'laned') == 1
  for i = FIRST_QUEUE, plain_at - 1 do
    local queue = ARGV[i]
    if not (paused and redis.call('SISMEMBER', root .. 'paused', queue) == 1) then
      looks[queue] = laned and lanes(root).ripen(queue, MAX_STEP)
      if #values < limit and not over then
        claim_queue(queue)
      elseif redis.call('EXISTS', unpack(keys_of(queue))) > 0 or looks[queue] and lanes(root).first(queue) then
        ring(root, queue)
      end
      local at = looks[queue] and lanes(root).note(queue)
      if at and at > 0 then comes(queue, at) end
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
if recorded and not state[5] then redis.call('HSET', held, 'm', recorded) end
if extras > 0 then redis.call('HSET', held, 'l', extras) elseif state[6] then redis.call('HDEL', held, 'l') end
if #dropped > 0 then redis.call('HSET', held, 'd', cmsgpack.pack(dropped)) end
for i = 1, #hold, CHUNK do
  redis.call('HSET', held, unpack(hold, i, math.min(i + CHUNK - 1, #hold)))
end
return {'OK', said, next_due_of(due), now, dropped, values}
