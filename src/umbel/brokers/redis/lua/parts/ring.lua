-- Wake one who waits on a queue: at most one token stands in the queue's token list, and BLPOP takes it.
-- `kind` 'a:' wakes one with empty hands, who may be given what is handed out alone.
local function ring(root, queue, kind)
  local key = root .. (kind or 't:') .. queue
  if redis.call('EXISTS', key) == 0 then redis.call('RPUSH', key, '1') end
end
