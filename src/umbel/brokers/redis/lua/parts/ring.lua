-- Wake one who waits on a queue: at most one token stands in the queue's token list, and BLPOP takes it.
local function ring(root, queue)
  local key = root .. 't:' .. queue
  if redis.call('EXISTS', key) == 0 then redis.call('RPUSH', key, '1') end
end
