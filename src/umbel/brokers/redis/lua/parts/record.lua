-- Records of tracked messages: the hash m:ID, written in the very step that moves its message. Needs: route.
-- Fields: s state, one letter · q queue · a attempt · e enqueued · b begun · f finished · l ms that it is kept from its end ·
-- p progress · r result · x error · y reason · while leased h its holder and g its field there · while scheduled
-- d `due:number` · i '1' if it is a member of a flow · w once somebody waits for the end.
-- The stream n:ID has its news for who waits: one entry, at the end, and only if there is a w.

-- Of any bytes: whether they are a message, the caller knows.
local function is_tracked(m)
  return (string.byte(m, 4) or 0) % 2 == TRACKED
end

-- All else is made when it is first called for: each function costs a script that has no use for it, and that is each script at
-- each call on the plain path, a third of a microsecond, and each name that a function takes from outside about as much.
local made
local function records()
  if made then return made end
  local SCHEDULED, PENDING, STARTED, RETRY = 'S', 'P', 'B', 'R'
  local SUCCESS, FAILURE, REVOKED, EXPIRED = 'D', 'F', 'V', 'X'
  -- Long enough for whoever looked at a record just before its end and has yet to begin to wait.
  local NEWS_MS = 60000
  -- PEXPIRE adds the time of day to what it is given.
  local LONGEST_MS = 2 ^ 53
  made = {PENDING = PENDING, RETRY = RETRY, SUCCESS = SUCCESS, FAILURE = FAILURE, REVOKED = REVOKED, EXPIRED = EXPIRED, NEWS_MS = NEWS_MS}

  function made.is_final(state)
    return state == SUCCESS or state == FAILURE or state == REVOKED or state == EXPIRED
  end

  function made.whole(number)
    return string.format('%.0f', number)
  end

  -- How long the message's own extra (tag 8, seconds as text) says that its record is kept; nil without a sound one.
  local function own_ttl(m)
    local seconds = tonumber(extra_of(m, 8))
    if not seconds or seconds ~= seconds then return nil end
    return math.max(0, math.min(math.floor(seconds * 1000), LONGEST_MS))
  end

  -- A record of a message that is stored, or stored anew: nothing stays of an older one but that somebody waits for its end.
  function made.begin(root, now, queue, m, ttl, due, number)
    local id = id_of(m)
    local key = root .. 'm:' .. id
    local waited = redis.call('HGET', key, 'w')
    redis.call('DEL', key, root .. 'n:' .. id)
    redis.call('SADD', root .. 'recorded', queue)
    local enqueued = struct.unpack('>I8', m, 18)
    redis.call('HSET', key, 's', number and SCHEDULED or PENDING, 'q', queue, 'a', struct.unpack('>I4', m, 10),
      'e', made.whole(enqueued > 0 and enqueued or now), 'l', made.whole(own_ttl(m) or ttl))
    if number then redis.call('HSET', key, 'd', made.whole(due) .. ':' .. made.whole(number)) end
    if waited then redis.call('HSET', key, 'w', '1') end
  end

  -- The others do nothing where there is no record: one that an operator removed is not begun half.

  function made.started(root, now, m, holder, field)
    local key = root .. 'm:' .. id_of(m)
    if redis.call('EXISTS', key) == 0 then return end
    redis.call('HDEL', key, 'd')
    redis.call('HSET', key, 's', STARTED, 'b', made.whole(now), 'a', struct.unpack('>I4', m, 10), 'h', holder, 'g', field)
  end

  -- Ready again, or due at last. One that waits for its next attempt stays RETRY until it is handed out.
  function made.pending(root, m)
    local key = root .. 'm:' .. id_of(m)
    local state = redis.call('HGET', key, 's')
    if not state then return end
    redis.call('HDEL', key, 'h', 'g', 'd')
    if state == STARTED or state == SCHEDULED then redis.call('HSET', key, 's', PENDING) end
  end

  -- It waits till `due`, under `number` in its queue's schedule (nil: not there, it is ready). `error` nil: it was no attempt.
  function made.waits(root, m, due, number, error)
    local key = root .. 'm:' .. id_of(m)
    if redis.call('EXISTS', key) == 0 then return end
    redis.call('HDEL', key, 'h', 'g', 'd')
    if error then
      redis.call('HSET', key, 's', RETRY, 'a', struct.unpack('>I4', m, 10), 'x', error)
    else
      redis.call('HSET', key, 's', SCHEDULED)
    end
    if number then redis.call('HSET', key, 'd', made.whole(due) .. ':' .. made.whole(number)) end
  end

  -- Final, and kept for its time from now on. `result` nil: there is none.
  function made.finish_of(root, now, id, state, reason, error, result)
    local key = root .. 'm:' .. id
    local known = redis.call('HMGET', key, 'l', 'w')
    local ttl = tonumber(known[1])
    if not ttl then return end
    redis.call('HDEL', key, 'h', 'g', 'd', 'w', 'x')
    redis.call('HSET', key, 's', state, 'f', made.whole(now))
    if error ~= '' then redis.call('HSET', key, 'x', error) end
    if reason ~= '' then redis.call('HSET', key, 'y', reason) end
    if result then redis.call('HSET', key, 'r', result) end
    if known[2] then
      local news = root .. 'n:' .. id
      redis.call('XADD', news, '*', 's', state)
      redis.call('PEXPIRE', news, made.whole(math.min(ttl, NEWS_MS)))
    end
    redis.call('PEXPIRE', key, made.whole(ttl))
  end

  function made.finish(root, now, m, state, reason, error, result)
    made.finish_of(root, now, id_of(m), state, reason, error, result)
  end

  return made
end
