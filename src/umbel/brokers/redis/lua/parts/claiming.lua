-- How exchange.lua takes messages out of lists and lanes: a piece of it, with its names. Needs: record, lane, keyed, member, ending, bury, holder.

local function hand_out(prefix, m, special)
  if special >= EXTRA then
    m = keyed(root).begun(m)
    extras = extras + 1
  end
  local count, value = #values, prefix .. m
  local field = receipts .. count
  hold[2 * count + 1] = field
  hold[2 * count + 2] = value
  values[count + 1] = value
  if special ~= 0 and is_tracked(m) then
    records().started(root, now, m, holder, field)
    recorded = '1'
  end
  if special >= EXTRA then members().moved(root, m, '@' .. field .. ' ' .. holder) end
  return field
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
  return nil, bit.band(flags, SPECIAL)
end

local function holds_nothing()
  return #values == 0 and redis.call('HLEN', held) <= 3 + (state[5] and 1 or 0) + (state[6] and 1 or 0)
end

-- Take from one list, which begins with `head`, until there are `most`; true if the queue's claim ends here.
local function claim_list(key, head, queue, prefix, most)
  while #values < most do
    -- Popping one is enough where one is all that can be given.
    local flags = readable(head)
    local want = flags and bit.band(flags, HANDED_ALONE) ~= 0 and 1 or math.min(most - #values, MAX_STEP)
    local batch = redis.call('LPOP', key, want)
    for i, m in ipairs(batch) do
      local route, expires, size, reason, special = nil, nil, nil, nil, nil
      if #m >= 58 then route, expires, size = struct.unpack('>I4xxxxxxxxxxxxxxxxxxxxxI8xxxxxxxxB', m) end
      -- what the plain path would give, and nothing that was cancelled stands in this queue: nothing more to look at
      local is_plain = route == PLAIN and size == 16 and not graves and (expires == 0 or expires > now)
      if not is_plain then reason, special = refusal(queue, m) end
      if is_plain then
        local count, value = #values, prefix .. m
        hold[2 * count + 1] = receipts .. count
        hold[2 * count + 2] = value
        values[count + 1] = value
      elseif reason then
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
  return #values >= limit
end

-- Take from lanes of one priority, one message of each in turn, until there are `most`; true if the queue's claim ends here.
local function claim_lanes(queue, priority, prefix, most)
  while #values < most do
    local m, at = lanes(root).peek(queue, priority)
    if not m then return false end
    local reason, special = refusal(queue, m)
    if reason then
      lanes(root).pop(at, nil)
      note(dropped, queue, m, reason)
      drops = drops + 1
    else
      local alone = bit.band(special, HANDED_ALONE) ~= 0
      if alone and not holds_nothing() then
        barred = true
        return true
      end
      lanes(root).pop(at, holder .. ':' .. hand_out(prefix, m, special), most - #values + 1)
      over = alone
    end
    over = over or drops >= MAX_STEP
    if over then return true end
  end
  return #values >= limit
end

local function is_alone(m)
  local flags = m and readable(m)
  return flags and bit.band(flags, HANDED_ALONE) ~= 0
end

-- Lanes and the list of one priority take turns: each has half of what may still be given, and what the other cannot give. One that is
-- to be handed out alone goes before all.
local function claim_both(key, queue, priority, prefix)
  if #values >= limit then return true end -- a list of a higher priority ended with the last that could be given
  local head, waits = redis.call('LINDEX', key, 0), lanes(root).peek(queue, priority)
  if not (head and waits) then
    return head and claim_list(key, head, queue, prefix, limit) or waits and claim_lanes(queue, priority, prefix, limit)
  end
  if is_alone(head) then return claim_list(key, head, queue, prefix, limit) end
  if is_alone(waits) then return claim_lanes(queue, priority, prefix, limit) end
  local room = limit - #values
  local share = room > 1 and math.ceil(room / 2) or seq % 2
  local given = #values
  local stopped = claim_lanes(queue, priority, prefix, given + share)
  if over or #values >= limit then return stopped end
  if stopped then -- by one that is to be handed out alone: the list has had as many turns
    claim_list(key, head, queue, prefix, #values + #values - given)
    barred = true
    return true
  end
  if claim_list(key, head, queue, prefix, limit) then return true end
  return claim_lanes(queue, priority, prefix, limit)
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
  local laned = looks[queue] and lanes(root).first(queue)
  for i, key in ipairs(keys) do
    if (lists == 0 and not laned) or stopped then break end
    if laned == 10 - i then
      stopped = lists > 0 and claim_both(key, queue, laned, prefix) or lists == 0 and claim_lanes(queue, laned, prefix, limit)
      laned = lanes(root).first(queue)
    elseif lists > 0 then
      local head = redis.call('LINDEX', key, 0)
      if head then
        lists = lists - 1
        stopped = claim_list(key, head, queue, prefix, limit)
      end
    end
  end
  if graves and redis.call('EXISTS', graves) == 0 then redis.call('SREM', root .. 'tombs', queue) end
  -- Whoever leaves something behind wakes the next one; whoever leaves nothing takes the token with him.
  if stopped and (laned or redis.call('EXISTS', unpack(keys)) > 0) then
    ring(root, queue, barred and 'a:' or nil)
  else
    redis.call('DEL', root .. 't:' .. queue, root .. 'a:' .. queue)
  end
end
