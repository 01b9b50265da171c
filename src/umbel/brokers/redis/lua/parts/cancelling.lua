-- Cancelling, by where the message stands. Needs: route, place, front.

-- It stands ready, where removing it would mean reading the whole list: whoever claims next leaves it out, and counts it.
local function cancel_ready(root, now, queue, id)
  redis.call('ZADD', root .. 'z:' .. queue, now, id)
  redis.call('SADD', root .. 'tombs', queue)
end

-- It is in somebody's hands: it will not run again. Its worker is told with the next heartbeat, if `terminate`.
local function cancel_held(root, holder, field, value, id, terminate)
  local held = root .. 'h:' .. holder
  local at = 1 + string.byte(value, 1)
  redis.call('HSET', held, field, string.sub(value, 1, at) .. with_flag(string.sub(value, at + 1), CANCELLED))
  local worker = redis.call('HGET', held, 'w')
  if terminate and worker then
    local commands = root .. 'c:' .. worker
    redis.call('ZADD', commands, redis.call('INCR', root .. 'serial'), 'cancel ' .. id)
    redis.call('PEXPIRE', commands, 86400000)
  end
end
