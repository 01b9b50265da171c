-- Every worker that is known.
-- KEYS  1 root · 2 workers (zset) · 3 about (hash)
-- Made from root: w:WORKER (set)
-- Returns {worker, end of its lease, what it said of itself, {its holders}} … Cost: O(workers + holders). Writes nothing.
local answer = {}
local all = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
for i = 1, #all, 2 do
  answer[#answer + 1] = {all[i], all[i + 1], redis.call('HGET', KEYS[3], all[i]) or '', redis.call('SMEMBERS', KEYS[1] .. 'w:' .. all[i])}
end
return answer
