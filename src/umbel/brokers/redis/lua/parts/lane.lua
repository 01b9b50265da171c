-- Lanes: sub-queues of one queue and one priority, for messages that stand on the same limits. Needs: route, ring, limit.
-- A lane's SPOT is `PRIORITY:length of GROUP:GROUP:LIMIT`, a group's `PRIORITY:GROUP`; GROUP is a limit too, or ''.
-- l:n:QUEUE:SPOT (n: length of QUEUE)  list of messages
-- i:QUEUE  zset of the queue's lanes, by priority and then by when each was last served or made (ms)
-- x:LIMIT  zset of the lanes that stand on it (`QUEUE SPOT`, see `entry`), by when each was last served before it waited, and of the
--          groups that wait for it
-- y:n:QUEUE:PRIORITY:GROUP  zset of a group's lanes that may be served, the one served longest ago first
-- g:QUEUE  zset of groups that have such lanes and may be served: the highest priority first, in it the one with the first lane
-- u:QUEUE  zset of lanes and groups that wait for a token, by the time at which there is one
-- laned    hash, queue -> when to look (ms; 0 now) and when that was written; no field where none waits for a time, or is ready
-- waits    hash, queue -> messages in its lanes
-- b:RULE   zset of limits that follow a rule shared by many, and in whose lanes somebody waited for room
-- All of these are gone with the last message. What stands in y and g is a hint: whoever claims asks the limits once more, and puts
-- what has no room where it waits. So whatever may have made room only has to say so.
local laning
local function lanes(root)
  if laning then return laning end
  local WEIGHT = 2 ^ 49 -- above each number of `serial`, and each time in ms
  local limit, made = limits(root), {}
  local last, spare, marked, out = 0, 0, {}, {}
  laning = made

  local function order(count)
    if spare == 0 then
      last, spare = redis.call('INCRBY', root .. 'serial', count) - count, count
    end
    last, spare = last + 1, spare - 1
    return last
  end

  local function weight(priority, number)
    return (9 - priority) * WEIGHT + number
  end

  local function entry(queue, kind, spot)
    return string.char(#queue) .. queue .. kind .. spot
  end

  local function list_of(queue, spot)
    return root .. 'l:' .. #queue .. ':' .. queue .. ':' .. spot
  end

  local function group_of(queue, group)
    return root .. 'y:' .. #queue .. ':' .. queue .. ':' .. group
  end

  -- Of a spot: the lane's group's spot, the group's limit, the lane's limit.
  local function parts_of(spot)
    local priority, size, at = string.match(spot, '^(%d):(%d+):()')
    local name = string.sub(spot, at, at + size - 1)
    return priority .. ':' .. name, name, string.sub(spot, at + size + 1)
  end

  local function spot_of(group, name)
    return string.sub(group, 1, 2) .. (#group - 2) .. ':' .. string.sub(group, 3) .. ':' .. name
  end

  -- Where a message stands when it is ready: the standing on its finest limit, with that on its group's; nil for the plain list.
  function made.of(m)
    local extras = limit.extras_of(m)
    local lane = extras and extras[1] and limit.standing(extras[1])
    if not lane then return nil end
    lane.over = extras[2] and limit.standing(extras[2])
    local name = lane.over and lane.over.limit or ''
    lane.priority = priority_of(m)
    lane.group = lane.priority .. ':' .. name
    lane.spot = spot_of(lane.group, lane.limit)
    return lane
  end

  -- Some lane of the queue may be served from now on.
  local function mark(queue)
    if marked[queue] then return end
    marked[queue] = true
    redis.call('HSET', root .. 'laned', queue, struct.pack('>dd', 0, limit.now))
    ring(root, queue)
  end

  local function offer_group(queue, group, number)
    local name = string.sub(group, 3)
    if name ~= '' and redis.call('ZSCORE', root .. 'x:' .. name, entry(queue, 'g', group)) then return end
    if redis.call('ZADD', root .. 'g:' .. queue, 'LT', weight(string.sub(group, 1, 1), number), group) == 1 then mark(queue) end
  end

  local function offer(queue, spot, number)
    local group, _, name = parts_of(spot)
    redis.call('ZADD', group_of(queue, group), 'NX', number, name)
    offer_group(queue, group, number)
  end

  -- A group may be served again, if it has a lane that may.
  local function offer_waiting_group(queue, group)
    redis.call('ZREM', root .. 'x:' .. string.sub(group, 3), entry(queue, 'g', group))
    local first = redis.call('ZRANGE', group_of(queue, group), 0, 0, 'WITHSCORES')
    if first[1] then offer_group(queue, group, tonumber(first[2])) end
  end

  -- A limit has room: all that stands on it may be served, in every queue.
  function made.wake(name)
    local all = redis.call('ZRANGE', root .. 'x:' .. name, 0, -1, 'WITHSCORES')
    for i = 1, #all, 2 do
      local at = 1 + string.byte(all[i])
      local queue, kind, spot = string.sub(all[i], 2, at), string.sub(all[i], at + 1, at + 1), string.sub(all[i], at + 2)
      redis.call('ZREM', root .. 'u:' .. queue, kind .. spot)
      if kind == 'l' then offer(queue, spot, tonumber(all[i + 1])) else offer_waiting_group(queue, spot) end
    end
  end

  -- Into its lane, behind what waits there or in front of it.
  function made.push(queue, m, lane, front)
    local size = redis.call(front and 'LPUSH' or 'RPUSH', list_of(queue, lane.spot), m)
    redis.call('HINCRBY', root .. 'waits', queue, 1)
    if size > 1 then return end
    local number = order(1)
    redis.call('ZADD', root .. 'i:' .. queue, weight(lane.priority, limit.now), lane.spot)
    redis.call('ZADD', root .. 'x:' .. lane.limit, number, entry(queue, 'l', lane.spot))
    offer(queue, lane.spot, number)
  end

  -- The last message has left the lane.
  local function vanish(queue, spot, rule)
    local group, _, name = parts_of(spot)
    redis.call('ZREM', root .. 'i:' .. queue, spot)
    redis.call('ZREM', root .. 'u:' .. queue, 'l' .. spot)
    redis.call('ZREM', root .. 'x:' .. name, entry(queue, 'l', spot))
    redis.call('ZREM', group_of(queue, group), name)
    if rule and rule ~= name and redis.call('EXISTS', root .. 'x:' .. name) == 0 then
      redis.call('ZREM', root .. 'b:' .. rule, name)
    end
  end

  -- Written down by `note`, with which each step ends that takes messages out.
  local function count_out(queue, count)
    out[queue] = (out[queue] or 0) + count
  end

  local function block_lane(queue, lane, at)
    redis.call('ZREM', group_of(queue, lane.group), lane.limit)
    if at then redis.call('ZADD', root .. 'u:' .. queue, at, 'l' .. lane.spot) end
    if lane.rule ~= lane.limit then redis.call('ZADD', root .. 'b:' .. lane.rule, 0, lane.limit) end
  end

  local function block_group(queue, group, over, at)
    redis.call('ZREM', root .. 'g:' .. queue, group)
    redis.call('ZADD', root .. 'x:' .. over.limit, 0, entry(queue, 'g', group))
    if over.rule ~= over.limit then redis.call('ZADD', root .. 'b:' .. over.rule, 0, over.limit) end
    if at then redis.call('ZADD', root .. 'u:' .. queue, at, 'g' .. group) end
  end

  -- A group in its place among the others, by its first lane; or out of it.
  local function replace_group(queue, group, over)
    local first = redis.call('ZRANGE', group_of(queue, group), 0, 0, 'WITHSCORES')
    if not first[1] then
      redis.call('ZREM', root .. 'g:' .. queue, group)
      if over then
        redis.call('ZREM', root .. 'x:' .. over.limit, entry(queue, 'g', group))
        redis.call('ZREM', root .. 'u:' .. queue, 'g' .. group)
      end
      return
    end
    local room, at = true, nil
    if over then room, at = limit.room(over) end
    if room then
      redis.call('ZADD', root .. 'g:' .. queue, weight(string.sub(group, 1, 1), tonumber(first[2])), group)
    else
      block_group(queue, group, over, at)
    end
  end

  -- The lane behind the others once it was `served`, if anything is left in it.
  local function replace_lane(queue, spot, lane, served, count)
    if redis.call('EXISTS', list_of(queue, spot)) == 0 then
      vanish(queue, spot, lane and lane.rule)
      return
    end
    if not served then return end
    local number = order(count)
    redis.call('ZADD', root .. 'i:' .. queue, weight(string.sub(spot, 1, 1), limit.now), spot)
    local group, _, name = parts_of(spot)
    local room, at = true, nil
    if lane then room, at = limit.room(lane) end
    if room then
      redis.call('ZADD', group_of(queue, group), number, name)
    else
      redis.call('ZADD', root .. 'x:' .. name, number, entry(queue, 'l', spot))
      block_lane(queue, lane, at)
    end
  end

  -- Has what stands on these limits room? What has none is put where it waits.
  local function has_room(queue, lane)
    if lane.over then
      local room, at = limit.room(lane.over)
      if not room then
        block_group(queue, lane.group, lane.over, at)
        return false
      end
    end
    local room, at = limit.room(lane)
    if not room then
      block_lane(queue, lane, at)
      replace_group(queue, lane.group, nil)
    end
    return room
  end

  -- The priority of the lanes whose turn it is, if any may be served.
  function made.first(queue)
    local group = redis.call('ZRANGE', root .. 'g:' .. queue, 0, 0)[1]
    return group and tonumber(string.sub(group, 1, 1))
  end

  -- The first message, left where it is, of the lane whose turn it is in this priority, and where that is: {queue, spot, lane}.
  function made.peek(queue, priority)
    while true do
      local group = redis.call('ZRANGE', root .. 'g:' .. queue, 0, 0)[1]
      if not group or tonumber(string.sub(group, 1, 1)) ~= priority then return nil end
      local name = redis.call('ZRANGE', group_of(queue, group), 0, 0)[1]
      if not name then
        redis.call('ZREM', root .. 'g:' .. queue, group)
      else
        local spot = spot_of(group, name)
        local m = redis.call('LINDEX', list_of(queue, spot), 0)
        local lane = m and made.of(m)
        if not m then
          vanish(queue, spot, nil)
        elseif not lane or has_room(queue, lane) then
          return m, {queue = queue, spot = spot, group = group, lane = lane}
        end
      end
    end
  end

  -- The first message of the lane whose turn it seems to be, without asking for room: nothing is written.
  function made.glimpse(queue)
    local group = redis.call('ZRANGE', root .. 'g:' .. queue, 0, 0)[1]
    local name = group and redis.call('ZRANGE', group_of(queue, group), 0, 0)[1]
    return name and redis.call('LINDEX', list_of(queue, spot_of(group, name)), 0) or nil
  end

  -- Take out what was looked at: handed out under this receipt, or dropped (nil). `most`: how many more may follow in this step.
  function made.pop(at, receipt, most)
    local queue, lane = at.queue, at.lane
    redis.call('LPOP', list_of(queue, at.spot))
    count_out(queue, 1)
    if receipt and lane then
      limit.take(lane, receipt)
      if lane.over then limit.take(lane.over, receipt) end
    end
    replace_lane(queue, at.spot, lane, receipt ~= nil, most)
    replace_group(queue, at.group, lane and lane.over)
  end

  -- When to look at the queue's lanes (ms; 0 now), and when that was written; nil for never.
  function made.looked(queue)
    local look = redis.call('HGET', root .. 'laned', queue)
    if look then return struct.unpack('>dd', look) end
    return nil
  end

  -- What waited for a token until now may be served: all, if the clock went back, since what was foreseen is void then. Answers
  -- whether the queue has lanes to look at.
  function made.ripen(queue, budget)
    local look, written = made.looked(queue)
    if not look then return false end
    local key, ripe = root .. 'u:' .. queue, nil
    if written > limit.now then
      ripe = redis.call('ZRANGE', key, 0, -1)
      redis.call('DEL', key)
    else
      ripe = redis.call('ZRANGEBYSCORE', key, '-inf', limit.now, 'LIMIT', 0, budget)
      if #ripe > 0 then redis.call('ZREMRANGEBYRANK', key, 0, #ripe - 1) end
    end
    for _, one in ipairs(ripe) do
      local kind, spot = string.sub(one, 1, 1), string.sub(one, 2)
      if kind == 'g' then
        offer_waiting_group(queue, spot)
      else
        local _, _, name = parts_of(spot)
        local number = redis.call('ZSCORE', root .. 'x:' .. name, entry(queue, 'l', spot))
        if number then offer(queue, spot, tonumber(number)) end
      end
    end
    return true
  end

  -- A delivery has left its holder's hand: what it held is free, for others in the same step. `unbegun`: its token comes back too.
  function made.left(m, receipt, unbegun)
    local lane = made.of(m)
    if not lane then return end
    local over = lane.over and limit.leave(lane.over, receipt, unbegun)
    if limit.leave(lane, receipt, unbegun) then made.wake(lane.limit) end
    if over then made.wake(lane.over.limit) end
  end

  -- Lanes of a queue, the highest priority first, from the one of this rank on: spots.
  function made.spots(queue, from, count)
    return redis.call('ZRANGE', root .. 'i:' .. queue, from, from + count - 1)
  end

  -- When a lane was last served, or made (ms).
  function made.since(queue, spot)
    return tonumber(redis.call('ZSCORE', root .. 'i:' .. queue, spot) or 0) % WEIGHT
  end

  -- Those of one priority in the order of their turns.
  function made.turns(queue, priority)
    local spots, numbers = redis.call('ZRANGEBYSCORE', root .. 'i:' .. queue, weight(priority, 0), '(' .. string.format('%.0f', weight(priority - 1, 0))), {}
    for _, spot in ipairs(spots) do
      local group, _, name = parts_of(spot)
      numbers[spot] = tonumber(redis.call('ZSCORE', group_of(queue, group), name) or redis.call('ZSCORE', root .. 'x:' .. name, entry(queue, 'l', spot)) or 0)
    end
    table.sort(spots, function(x, y) return numbers[x] < numbers[y] end)
    return spots
  end

  -- The first message of a lane and where that is, as `peek` has it; whether it may be served does not matter.
  function made.head(queue, spot)
    local m = redis.call('LINDEX', list_of(queue, spot), 0)
    return m, {queue = queue, spot = spot, group = (parts_of(spot)), lane = m and made.of(m)}
  end

  -- The key of a lane's list.
  made.list_of = list_of

  -- So many messages were taken out of a lane otherwise, perhaps all. `one`: one of them, of which the limits are known.
  function made.drained(queue, spot, count, one)
    local lane = one and made.of(one)
    count_out(queue, count)
    replace_lane(queue, spot, lane, false)
    replace_group(queue, (parts_of(spot)), lane and lane.over)
  end

  function made.heal(lane)
    if limit.heal(lane) then made.wake(lane.limit) end
    if lane.over and limit.heal(lane.over) then made.wake(lane.over.limit) end
  end

  -- Is there one among the first of a lane that was not cancelled?
  local function waits(queue, spot)
    if redis.call('SISMEMBER', root .. 'tombs', queue) == 0 then return true end
    for _, m in ipairs(redis.call('LRANGE', list_of(queue, spot), 0, 99)) do
      if not redis.call('ZSCORE', root .. 'z:' .. queue, id_of(m)) then return true end
    end
    return false
  end

  -- Does somebody hold the lane's limit, or wait for it?
  function made.locked(lane)
    if redis.call('EXISTS', root .. 'e:' .. lane.limit) == 1 then return true end
    for _, one in ipairs(redis.call('ZRANGE', root .. 'x:' .. lane.limit, 0, -1)) do
      local at = 1 + string.byte(one)
      if string.sub(one, at + 1, at + 1) == 'l' and waits(string.sub(one, 2, at), string.sub(one, at + 2)) then return true end
    end
    return false
  end

  -- Write down when to look at the queue's lanes again; answers with that, or nil.
  function made.note(queue)
    local count = out[queue]
    out[queue], marked[queue] = nil, nil
    if count and redis.call('HINCRBY', root .. 'waits', queue, -count) <= 0 then redis.call('HDEL', root .. 'waits', queue) end
    if redis.call('EXISTS', root .. 'g:' .. queue) == 1 then
      redis.call('HSET', root .. 'laned', queue, struct.pack('>dd', 0, limit.now))
      return 0
    end
    local first = redis.call('ZRANGE', root .. 'u:' .. queue, 0, 0, 'WITHSCORES')
    if not first[1] then
      redis.call('HDEL', root .. 'laned', queue)
      return nil
    end
    local at = math.ceil(tonumber(first[2]))
    redis.call('HSET', root .. 'laned', queue, struct.pack('>dd', at, limit.now))
    return at
  end

  return made
end
