-- Remove what is ready or scheduled in a queue: all of it, or, where messages with records, keys or lanes are or have been, some of it.
-- KEYS  1 root
-- ARGV  1 queue · 2 most messages to look at
-- Made from root: r:PRIORITY:QUEUE s:QUEUE t:QUEUE a:QUEUE z:QUEUE · recorded tombs (sets) · m:ID n:ID · those of parts/lane.lua,
--                 keyed.lua
-- Returns {how many, how many are left}; cancelled ones were gone already and are not counted.
-- Cost: O(1) for a queue without such messages, the memory is freed in the background; else O(messages looked at).
-- @include clock route record ring limit lane place keyed node flow member ending
local root, queue, budget, now = KEYS[1], ARGV[1], tonumber(ARGV[2]), server_now()
local schedule, graves = root .. 's:' .. queue, root .. 'z:' .. queue
local count, bytes = 0, 0

local function size_of(key)
  return redis.call(key == schedule and 'ZCARD' or 'LLEN', key)
end

local function purged(m)
  if redis.call('ZREM', graves, id_of(m)) == 1 then return end
  ended(root, now, m, 'V', 'purged', '')
  count = count + 1
end

local function empty_some(key)
  while budget > 0 and bytes < HEAVY do
    local some, most = {}, math.min(budget, PIECE)
    if key == schedule then
      some = redis.call('ZRANGE', key, 0, most - 1)
      redis.call('ZREMRANGEBYRANK', key, 0, most - 1)
    else
      some = redis.call('LPOP', key, most) or {}
    end
    if #some == 0 then return end
    for _, m in ipairs(some) do
      bytes = bytes + #m
      purged(key == schedule and string.sub(m, 7) or m)
    end
    budget = budget - #some
  end
end

local keys, left = {schedule}, 0
for priority = 0, 9 do keys[#keys + 1] = root .. 'r:' .. priority .. ':' .. queue end

local function empty_lanes()
  while budget > 0 and bytes < HEAVY do
    local spot = lanes(root).spots(queue, 0, 1)[1]
    if not spot then return end
    local key = lanes(root).list_of(queue, spot)
    local some = redis.call('LPOP', key, math.min(budget, PIECE)) or {}
    for _, m in ipairs(some) do
      bytes = bytes + #m
      purged(m)
    end
    budget = budget - math.max(#some, 1)
    lanes(root).drained(queue, spot, #some, some[1])
  end
end

local laned = redis.call('EXISTS', root .. 'i:' .. queue) == 1
if laned or redis.call('SISMEMBER', root .. 'recorded', queue) == 1 then
  for _, key in ipairs(keys) do
    empty_some(key)
    left = left + size_of(key)
  end
  if laned then
    empty_lanes()
    lanes(root).note(queue)
    left = left + tonumber(redis.call('HGET', root .. 'waits', queue) or 0)
  end
else
  for _, key in ipairs(keys) do count = count + size_of(key) end
  count = count - redis.call('ZCARD', graves)
  redis.call('UNLINK', unpack(keys))
end
if left == 0 then
  redis.call('UNLINK', graves, root .. 't:' .. queue, root .. 'a:' .. queue)
  redis.call('SREM', root .. 'tombs', queue)
end
return {count, left}
