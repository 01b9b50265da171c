-- How every queue stands.
-- KEYS  1 root · 2 queues (set) · 3 workers (zset) · 4 buried (hash) · 5 paused (set)
-- Made from root: r:PRIORITY:QUEUE s:QUEUE z:QUEUE · w:WORKER · h:HOLDER · tombs (set) · waits (hash) i:QUEUE (zset) l:n:QUEUE:SPOT
-- Returns {now, {queue, ready, scheduled, leased, dead, paused (0 or 1), enqueued ms of the oldest at the head of a list or lane, or -1} …}
-- Cost: O(queues + leased), and for the age the lanes of a queue, a thousand of them at most. Writes nothing.
-- @include clock
local root, answer, leased = KEYS[1], {server_now()}, {}
for _, worker in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  for _, holder in ipairs(redis.call('SMEMBERS', root .. 'w:' .. worker)) do
    local all = redis.call('HGETALL', root .. 'h:' .. holder)
    for i = 1, #all, 2 do
      if string.find(all[i], ':', 1, true) then
        local queue = string.sub(all[i + 1], 2, 1 + string.byte(all[i + 1], 1))
        leased[queue] = (leased[queue] or 0) + 1
      end
    end
  end
end
local tombs = redis.call('EXISTS', root .. 'tombs') == 1
for _, queue in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  -- what is cancelled lies there until its turn comes, and counts no more
  local ready, oldest = tombs and -redis.call('ZCARD', root .. 'z:' .. queue) or 0, nil
  local function look(key)
    local head = redis.call('LINDEX', key, 0)
    local enqueued = head and #head >= 25 and struct.unpack('>I8', head, 18) or nil
    if enqueued and (not oldest or enqueued < oldest) then oldest = enqueued end
  end
  for priority = 0, 9 do
    local key = root .. 'r:' .. priority .. ':' .. queue
    local count = redis.call('LLEN', key)
    if count > 0 then
      ready = ready + count
      look(key)
    end
  end
  local laned = tonumber(redis.call('HGET', root .. 'waits', queue) or 0)
  if laned > 0 then
    ready = ready + laned
    for _, spot in ipairs(redis.call('ZRANGE', root .. 'i:' .. queue, 0, 999)) do
      look(root .. 'l:' .. #queue .. ':' .. queue .. ':' .. spot)
    end
  end
  answer[#answer + 1] = {
    queue, math.max(ready, 0), redis.call('ZCARD', root .. 's:' .. queue), leased[queue] or 0,
    tonumber(redis.call('HGET', KEYS[4], queue) or 0), redis.call('SISMEMBER', KEYS[5], queue), oldest or -1,
  }
end
return answer
