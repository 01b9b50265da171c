-- Keep a message as a dead letter. Needs: route, ending.
-- dead: hash, name -> died ms (8), queue (1 + n), reason (1 + n), length of the error (4), error, packed envelope.
-- died: zset of names by time. buried: hash, queue -> how many. deadsize: bytes in `dead`. A name is the message's id as
-- stored; one that has none, or whose id lies there already, gets a serial number at its end.
local function bury(root, now, queue, m, reason, error)
  local name = id_of(m)
  if name == '' or redis.call('HEXISTS', root .. 'dead', name) == 1 then
    name = name .. '#' .. redis.call('INCR', root .. 'serial')
  end
  reason = string.sub(reason, 1, 255)
  local letter = struct.pack('>I8', now) .. string.char(#queue) .. queue .. string.char(#reason) .. reason
    .. struct.pack('>I4', #error) .. error .. m
  redis.call('HSET', root .. 'dead', name, letter)
  redis.call('ZADD', root .. 'died', now, name)
  redis.call('HINCRBY', root .. 'buried', queue, 1)
  redis.call('INCRBY', root .. 'deadsize', #letter)
  ended(root, now, m, 'F', reason, error, nil, name)
end

-- Remove a dead letter for good. Answers with its bytes.
local function unbury(root, name)
  local letter = redis.call('HGET', root .. 'dead', name)
  redis.call('ZREM', root .. 'died', name)
  redis.call('HDEL', root .. 'fdead', name)
  if not letter then return 0 end
  redis.call('HDEL', root .. 'dead', name)
  redis.call('DECRBY', root .. 'deadsize', #letter)
  local queue = string.sub(letter, 10, 9 + string.byte(letter, 9))
  if redis.call('HINCRBY', root .. 'buried', queue, -1) <= 0 then redis.call('HDEL', root .. 'buried', queue) end
  return #letter
end
