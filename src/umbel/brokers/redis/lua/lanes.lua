-- How some lanes of a queue stand.
-- KEYS  1 root
-- ARGV  1 queue · 2 … lanes (see parts/lane.lua)
-- Made from root: paused (set) · l:n:QUEUE:SPOT i:QUEUE e:LIMIT z:QUEUE · rules overrides (hashes) rates (zset)
-- Returns {lane, its mark, its group's mark or '', waiting, since (ms), what it waits for: nothing, rate, concurrency, group_rate,
--         group_concurrency, paused, deliveries that stand on that limit, until (ms, -1 for none), numbers declared, override or ''} …
-- Cost: O(lanes named), and up to a thousand messages of each while any in the queue are cancelled. Writes nothing but what it finds to be void (see parts/limit.lua).
-- @include route ring limit lane
local root, queue, answer = KEYS[1], ARGV[1], {}
redis.call('HDEL', root .. 'laned', '') -- the first write, and one that is never refused for lack of room
local LOOKED_AT = 1000
local paused = redis.call('SISMEMBER', root .. 'paused', queue) == 1

local function waits_for(lane)
  local room, at = limits(root).room(lane)
  if not room then return lane, '', at end
  if lane.over then
    room, at = limits(root).room(lane.over)
    if not room then return lane.over, 'group_', at end
  end
  return lane, nil, nil
end

-- Those that were cancelled where they stand are counted among the first thousand.
local function waiting(spot)
  local key, graves = lanes(root).list_of(queue, spot), root .. 'z:' .. queue
  local count, from = redis.call('LLEN', key), 0
  if redis.call('EXISTS', graves) == 0 then return count end
  while from < LOOKED_AT do
    local some = redis.call('LRANGE', key, from, from + 99)
    for _, m in ipairs(some) do
      if redis.call('ZSCORE', graves, id_of(m)) then count = count - 1 end
    end
    if #some < 100 then break end
    from = from + 100
  end
  return count
end

for i = 2, #ARGV do
  local m, at = lanes(root).head(queue, ARGV[i])
  local lane = at.lane
  local count = lane and waiting(ARGV[i]) or 0
  if count > 0 then
    local on, kind, due = waits_for(lane)
    local what = 'nothing'
    if kind then what = kind .. (limits(root).is_full(on) and 'concurrency' or 'rate') end
    if paused then what, on, due = 'paused', lane, nil end
    local extras = limits(root).extras_of(m)
    answer[#answer + 1] = {
      ARGV[i], extras[1], extras[2] or '', count, lanes(root).since(queue, ARGV[i]),
      what, redis.call('SCARD', root .. 'e:' .. on.limit), due and math.ceil(due) or -1,
      redis.call('HGET', root .. 'rules', on.rule) or on.declared, redis.call('HGET', root .. 'overrides', on.rule) or '',
    }
  end
end
return answer
