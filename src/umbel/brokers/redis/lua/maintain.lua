-- One bounded round of maintenance: promote, drop, rescue, prune.
-- KEYS  1 root · 2 workers (zset) · 3 about (hash) · 4 queues (set) · 5 ids (zset) · 6 died (zset) · 7 gone (zset)
-- ARGV  1 until when to rescue (ms; 0 not to) · 2 most bytes of dead letters · 3 most age of a dead letter, ms ·
--       4 for how long a queue is kept in view after it was served, ms · 5 for how long an open flow may be left untouched, ms
-- Made from root: r:PRIORITY:QUEUE s:QUEUE t:QUEUE · w:WORKER lost:WORKER c:WORKER · h:HOLDER k:HOLDER · serial dead buried deadsize ·
--                 m:ID n:ID · tombs z:QUEUE · served (zset) v:QUEUE (set) · paused recorded (sets) · those of parts/lane.lua, limit.lua,
--                 keyed.lua, flow.lua
-- Returns {promoted, {id, queue, reason … dropped}, {worker, messages given back …}, {id, queue, reason … buried},
--          pruned, trimmed, 1 if a bound was reached}
-- Cost: O(queues) and at most about 1,000 messages of each kind, or a few megabytes of them, and 100 lanes of each queue.
-- @include clock route record ring limit lane reconsider place keyed node flow member ending front bury promote holder rank cancelling steering
local root, now = KEYS[1], server_now()
local MAX_STEP, DAY, HOUR = 1000, 86400000, 3600000
local TOMB_MS, LANES = 30 * DAY, 100
-- Flows that one round looks at, and dead letters that it passes by since a flow needs them.
local FLOWS, LOOKED = 100, 10000
local promoted, pruned, trimmed, more = 0, 0, 0, 0
local dropped, rescued, buried = {}, {}, {}

local function has_expired(m)
  if not readable(m) then return false end
  local expires = struct.unpack('>I8', m, 26)
  return expires > 0 and expires <= now
end

local function gone(queue, m)
  if redis.call('ZREM', root .. 'z:' .. queue, id_of(m)) == 1 then
    note(dropped, queue, m, 'cancelled')
  else
    drop(root, now, dropped, queue, m, 'expired')
  end
end

-- Only what stands at the head of a list is looked at: whoever claims meets the others.
local function drop_expired(queue, budget)
  for priority = 0, 9 do
    local key = ready_key(root, queue, priority)
    local m = redis.call('LINDEX', key, 0)
    while m and budget > 0 and has_expired(m) do
      redis.call('LPOP', key)
      gone(queue, m)
      budget = budget - 1
      m = redis.call('LINDEX', key, 0)
    end
  end
  return budget
end

-- What waits in lanes: tokens that are there by now, and what expired at the head of some of them, other ones each time. A limit whose
-- holder is nobody's any more is freed, though nothing is known that would leave one.
local function tend_lanes(queue, budget)
  local count = redis.call('ZCARD', root .. 'i:' .. queue)
  if count == 0 then return budget end
  lanes(root).ripen(queue, MAX_STEP)
  local pages = math.ceil(count / LANES)
  for _, spot in ipairs(lanes(root).spots(queue, math.floor(now / 1000) % pages * LANES, LANES)) do
    local m, at = lanes(root).head(queue, spot)
    while m and budget > 0 and has_expired(m) do
      lanes(root).pop(at)
      gone(queue, m)
      budget = budget - 1
      m, at = lanes(root).head(queue, spot)
    end
    if m and at.lane then lanes(root).heal(at.lane) end
  end
  lanes(root).note(queue)
  return budget
end

local function promote_all()
  local budget, drops = MAX_STEP, MAX_STEP
  for _, queue in ipairs(redis.call('SMEMBERS', KEYS[4])) do
    local moved, count, due = promote(root, now, queue, budget, dropped)
    budget, promoted = budget - moved, promoted + count
    if count > 0 then ring(root, queue) end
    drops = tend_lanes(queue, drop_expired(queue, drops))
    if due and due <= now or drops <= 0 then more = 1 end
  end
end

-- Charged with the loss, or a dead letter. What a newer release handed out is not charged: its counters are not ours to read.
local function lost(queue, m)
  if not readable(m) then return m end
  m = with_flag(raised(m, 9), ALONE)
  local limit, losses = string.byte(m, 7), string.byte(m, 9)
  if bit.band(struct.unpack('>H', m, 3), LOST_DEAD) ~= 0 or (limit > 0 and losses >= limit) then
    bury(root, now, queue, m, 'worker_lost', '')
    note(buried, queue, m, 'worker_lost')
    return nil
  end
  return m
end

local function rescue_holder(holder, worker)
  local back, charged = split_cancelled(root, now, deliveries_of(root .. 'h:' .. holder), dropped, holder, false), {}
  forget_holder(root, now, holder, worker)
  redis.call('SADD', root .. 'lost:' .. worker, holder)
  redis.call('PEXPIRE', root .. 'lost:' .. worker, DAY)
  for _, one in ipairs(back) do
    local m = lost(one[1], one[2])
    if m then charged[#charged + 1] = {one[1], m} end
  end
  place_in_front(root, charged)
  return #back, #charged
end

local function rescue()
  local budget = MAX_STEP
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, MAX_STEP)) do
    local given = 0
    for _, holder in ipairs(redis.call('SMEMBERS', root .. 'w:' .. worker)) do
      if budget <= 0 then break end
      local held, back = rescue_holder(holder, worker)
      budget, given = budget - held - 1, given + back
    end
    rescued[#rescued + 1] = worker
    rescued[#rescued + 1] = given
    if redis.call('SCARD', root .. 'w:' .. worker) > 0 then
      more = 1
      return
    end
    redis.call('ZREM', KEYS[2], worker)
    redis.call('HDEL', KEYS[3], worker)
    redis.call('DEL', root .. 'c:' .. worker)
  end
end

-- Remove the members of a sorted set whose time was over before `time`.
local function prune(key, time)
  local old = redis.call('ZRANGEBYSCORE', key, '-inf', time, 'LIMIT', 0, MAX_STEP)
  if #old > 0 then redis.call('ZREM', key, unpack(old)) end
  if #old == MAX_STEP then more = 1 end
  return #old
end

-- Windows of throttled keys that are over, and rates that say no more than nothing would.
local function prune_limits()
  local keys = redis.call('ZRANGEBYSCORE', root .. 'throttles', '-inf', now, 'LIMIT', 0, MAX_STEP)
  if #keys > 0 then
    redis.call('ZREM', root .. 'throttles', unpack(keys))
    redis.call('HDEL', root .. 'throttled', unpack(keys))
  end
  if #keys == MAX_STEP then more = 1 end
  redis.call('ZREMRANGEBYSCORE', root .. 'rates', '-inf', now - limits(root).CATCH_UP)
end

-- Is it the dead letter of a flow that may still go on?
local unfinished = {}
local function is_needed(name)
  local flow = redis.call('HGET', root .. 'fdead', name)
  if not flow then return false end
  if unfinished[flow] == nil then
    local begun, finished = unpack(redis.call('HMGET', root .. 'f:' .. flow, 'c', 'fi'))
    unfinished[flow] = begun and tonumber(finished or 0) == 0 or false
  end
  return unfinished[flow]
end

-- Remove the oldest dead letters that nobody needs, as long as wanted(time of dying); answers how many.
local bytes = 0
local function remove_old(wanted)
  local rank, count, looked = 0, 0, 0
  while true do
    local name, died = unpack(redis.call('ZRANGE', KEYS[6], rank, rank, 'WITHSCORES'))
    if not name or not wanted(tonumber(died)) then return count end
    if count == MAX_STEP or looked == LOOKED or bytes >= HEAVY then
      if looked < LOOKED then more = 1 end
      return count
    end
    if is_needed(name) then
      rank, looked = rank + 1, looked + 1
    else
      bytes, count = bytes + unbury(root, name), count + 1
    end
  end
end

local function prune_dead()
  local over, room = now - tonumber(ARGV[3]), tonumber(ARGV[2])
  pruned = pruned + remove_old(function(died) return died <= over end)
  trimmed = remove_old(function() return tonumber(redis.call('GET', root .. 'deadsize') or 0) > room end)
end

-- Flows: whose producer is lost, who has something left to say or to drop, whose time is over.
local function tend()
  local budget = FLOWS
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', root .. 'fopen', '-inf', now - tonumber(ARGV[5]), 'LIMIT', 0, budget)) do
    local entry = flows().load(root, id)
    if entry then
      flows().end_it(entry, 'F', 'producer_lost', now)
      flows().save(entry)
    end
    redis.call('ZREM', root .. 'fopen', id)
  end
  local bound = MAX_STEP
  for _, id in ipairs(redis.call('SRANDMEMBER', root .. 'fbusy', budget)) do
    local entry = bound > 0 and flows().load(root, id)
    if entry and entry.ended then
      if sweep(root, now, entry, false, {}) then more = 1 end
      bound = bound - MAX_STEP / 10
    elseif entry then
      bound = flows().go_on(entry, now, bound)
      flows().save(entry)
      if entry.sp > 0 then more = 1 end
    elseif bound <= 0 then
      more = 1
    end
    if bound > 0 and (not entry or (not entry.ended and entry.sp == 0)) then redis.call('SREM', root .. 'fbusy', id) end
  end
  local over = redis.call('ZRANGEBYSCORE', root .. 'fends', '-inf', now, 'LIMIT', 0, budget)
  for _, id in ipairs(over) do
    if redis.call('HEXISTS', root .. 'f:' .. id, 'c') == 1 then pruned = pruned + 1 end
    if forget_flow(root, id) then more = 1 end
  end
  if #over == budget then more = 1 end
end

-- Tombstones are of messages that stand ready: where none does, none is needed.
local function prune_tombs()
  for _, queue in ipairs(redis.call('SMEMBERS', root .. 'tombs')) do
    local graves, waits = root .. 'z:' .. queue, redis.call('EXISTS', root .. 'i:' .. queue)
    for priority = 0, 9 do waits = waits + redis.call('EXISTS', ready_key(root, queue, priority)) end
    if waits > 0 then
      pruned = pruned + redis.call('ZREMRANGEBYSCORE', graves, '-inf', now - TOMB_MS)
    else
      redis.call('UNLINK', graves)
    end
    if redis.call('EXISTS', graves) == 0 then redis.call('SREM', root .. 'tombs', queue) end
  end
end

-- Of each of these queues: is one of its messages in somebody's hands?
local function among_leased(wanted)
  local found = {}
  for _, worker in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    for _, holder in ipairs(redis.call('SMEMBERS', root .. 'w:' .. worker)) do
      for _, one in ipairs(deliveries_of(root .. 'h:' .. holder)) do
        local queue = queue_and_message(one[4])
        if wanted[queue] then found[queue] = true end
      end
    end
  end
  return found
end

local function is_served(queue)
  for _, worker in ipairs(redis.call('SMEMBERS', root .. 'v:' .. queue)) do
    local lease = redis.call('ZSCORE', KEYS[2], worker)
    if lease and tonumber(lease) > now then return true end
  end
  return false
end

local function holds_any(queue)
  local keys = {root .. 's:' .. queue, root .. 'i:' .. queue}
  for priority = 0, 9 do keys[#keys + 1] = ready_key(root, queue, priority) end
  return redis.call('EXISTS', unpack(keys)) > 0 or tonumber(redis.call('HGET', root .. 'buried', queue) or 0) > 0
    or redis.call('SISMEMBER', root .. 'paused', queue) == 1
end

-- Queues that nobody serves, nor has for a time, and in which nothing stands, are forgotten. The others are looked at again an hour
-- later, since looking into all hands costs as much as they hold.
local function forget_served()
  local idle, any = {}, false
  local since = now - tonumber(ARGV[4])
  local later = math.min(now, since + HOUR)
  for _, queue in ipairs(redis.call('ZRANGEBYSCORE', root .. 'served', '-inf', since, 'LIMIT', 0, 100)) do
    if is_served(queue) or holds_any(queue) then
      redis.call('ZADD', root .. 'served', later, queue)
    else
      idle[queue], any = true, true
    end
  end
  if not any then return end
  local leased = among_leased(idle)
  for queue in pairs(idle) do
    if leased[queue] then
      redis.call('ZADD', root .. 'served', later, queue)
    else
      redis.call('ZREM', root .. 'served', queue)
      redis.call('DEL', root .. 'v:' .. queue)
      redis.call('SREM', KEYS[4], queue)
      redis.call('SREM', root .. 'recorded', queue)
    end
  end
end

-- The first write is one that is never refused for lack of room, and no later one of the script is then.
redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', now - DAY)
pruned = prune(KEYS[5], now)
prune_limits()
prune_dead()
promote_all()
prune_tombs()
if reconsider(root, MAX_STEP) == 1 then more = 1 end
forget_served()
tend()
if now <= tonumber(ARGV[1]) then rescue() end
return {promoted, dropped, rescued, buried, pruned, trimmed, more}
