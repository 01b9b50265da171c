-- Limits: how much may be in hand at once, and how much may be handed out in a time, over all queues. Needs: route.
-- e:LIMIT: set of the receipts (holder:sequence:index) that hold it, so that a count can never drift from what it counts.
-- rates: sorted set of limits by their theoretical arrival time, in ms with fractions (GCRA); one in the past says nothing.
-- rules, overrides: hashes, rule to its numbers (umbel/lane.py); what an operator said stands before what the code declared.
local limiting
local function limits(root)
  if limiting then return limiting end
  -- What a rate may catch up beside its burst, ms: a worker that looks a little late loses nothing.
  local CATCH_UP = 100
  local NUMBERS = '^(%-?%d*),(%d*),(%d*),(%-?%d*)'
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  -- What was read in this step is not read again: all that changes it is here.
  local rules, counts, tats, made = {}, {}, {}, {now = now, CATCH_UP = CATCH_UP}
  limiting = made

  -- The extras of a packed envelope, tag to value; nil for one that has none.
  function made.extras_of(m)
    local flags = readable(m)
    if not flags or flags < EXTRA then return nil end
    local head, found = string.byte(m, 2), {}
    local at = head + 2 + string.byte(m, head + 1)
    local stop = at + 2 + struct.unpack('>H', m, at)
    at = at + 2
    while at < stop do
      local tag, size = struct.unpack('>BH', m, at)
      found[tag] = string.sub(m, at + 3, at + 2 + size)
      at = at + 3 + size
    end
    return found
  end

  -- What a mark (umbel/lane.py) says: the limit's name, its rule's name, and the rule's numbers as they were declared; nil if it is none.
  function made.standing(value)
    local numbers, rule, limit = string.match(value, '^([^%z]*)%z([^%z]*)%z(.+)$')
    if not numbers or not string.find(numbers, NUMBERS) then return nil end
    return {limit = limit, rule = rule ~= '' and rule or limit, declared = numbers}
  end

  -- Rules of which nothing is known are what the message says.
  function made.know(extras)
    for tag = 1, 2 do
      local standing = extras[tag] and made.standing(extras[tag])
      if standing and redis.call('HEXISTS', root .. 'rules', standing.rule) == 0 then
        redis.call('HSET', root .. 'rules', standing.rule, standing.declared)
      end
    end
  end

  -- The numbers in force for what stands on a limit: interval in ms, burst, and the most that may be in hand; nil for no limit.
  function made.rule(standing)
    local name = standing.rule
    local rule = rules[name]
    if not rule then
      local declared = redis.call('HGET', root .. 'rules', name) or standing.declared
      local count, period, burst, most = string.match(declared, NUMBERS)
      local over = redis.call('HGET', root .. 'overrides', name)
      if over then
        local its_count, its_period, its_burst, its_most = string.match(over, NUMBERS)
        if its_count and its_count ~= '' then count, period, burst = its_count, its_period, its_burst end
        if its_most and its_most ~= '' then most = its_most end
      end
      count, most = tonumber(count), tonumber(most)
      rule = {burst = math.max(1, tonumber(burst) or 1), most = most and most >= 0 and most or nil}
      if count and count >= 0 then rule.interval = math.max(1, tonumber(period) or 1000) / count end
      rules[name] = rule
    end
    return rule
  end

  local function arrives(limit, tat)
    tats[limit] = tat
    redis.call('ZADD', root .. 'rates', tat, limit)
  end

  -- The next hand-out's time by the rate alone (umbel/gcra.py). After the clock stepped back, or the rule became faster, it is no
  -- further ahead than a full burst; and that is kept, since worked out anew at each look it would stay as far ahead as it was.
  local function arrival(limit, rule)
    local tat = tats[limit] or tonumber(redis.call('ZSCORE', root .. 'rates', limit) or now - CATCH_UP)
    local most = now + rule.burst * rule.interval
    if tat > most then arrives(limit, most) else tats[limit] = tat end
    return math.min(tat, most)
  end

  local function in_hand(limit)
    local count = counts[limit]
    if not count then
      count = redis.call('SCARD', root .. 'e:' .. limit)
      counts[limit] = count
    end
    return count
  end

  -- Are as many in hand as may be?
  function made.is_full(standing)
    local rule = made.rule(standing)
    return rule.most ~= nil and in_hand(standing.limit) >= rule.most
  end

  -- May one more be handed out? If not, since all that may be are in hand (nil), or until when (ms).
  function made.room(standing)
    local rule = made.rule(standing)
    if made.is_full(standing) then return false, nil end
    if rule.interval == math.huge then return false, nil end
    if rule.interval then
      local at = arrival(standing.limit, rule) - (rule.burst - 1) * rule.interval
      if at > now then return false, at end
    end
    return true
  end

  -- It is handed out under this receipt.
  function made.take(standing, receipt)
    local rule = made.rule(standing)
    local added = redis.call('SADD', root .. 'e:' .. standing.limit, receipt)
    counts[standing.limit] = counts[standing.limit] and counts[standing.limit] + added
    if rule.interval then arrives(standing.limit, math.max(arrival(standing.limit, rule), now - CATCH_UP) + rule.interval) end
  end

  -- The delivery is in nobody's hand any more; one that was not begun gives its token back. Is there room where none may have been?
  function made.leave(standing, receipt, unbegun)
    local rule, freed = made.rule(standing), false
    if redis.call('SREM', root .. 'e:' .. standing.limit, receipt) == 1 then
      freed = rule.most ~= nil
      counts[standing.limit] = counts[standing.limit] and counts[standing.limit] - 1
      if unbegun and rule.interval and rule.interval < math.huge then
        arrives(standing.limit, arrival(standing.limit, rule) - rule.interval)
        freed = true
      end
    end
    return freed
  end

  -- Receipts of deliveries that are in nobody's hand: none, unless something went wrong that is not known. Answers whether there were.
  function made.heal(standing)
    local healed = false
    for _, receipt in ipairs(redis.call('SMEMBERS', root .. 'e:' .. standing.limit)) do
      local holder, field = string.match(receipt, '^(.*):(%d+:%d+)$')
      if not holder or redis.call('HEXISTS', root .. 'h:' .. holder, field) == 0 then
        redis.call('SREM', root .. 'e:' .. standing.limit, receipt)
        counts[standing.limit], healed = nil, true
      end
    end
    return healed
  end

  return made
end
