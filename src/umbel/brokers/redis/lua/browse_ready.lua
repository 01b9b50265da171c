-- Ready messages of some queues in the order of claiming.
-- KEYS  1 root
-- ARGV  1 how many at most · 2 priority of the first queue to begin with · 3 how many of that list to pass over · 4 … queues
-- Made from root: r:PRIORITY:QUEUE z:QUEUE
-- Returns {queue's place among those asked for, priority, place in its list, envelope} …; cancelled ones are left out.
-- Cost: O(messages answered + queues); passing over costs next to nothing. Writes nothing.
-- @include route
local root, limit, from = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[3])
local answer = {}

local function list(at, queue, priority, graves)
  local key = root .. 'r:' .. priority .. ':' .. queue
  while #answer < limit do
    local some = redis.call('LRANGE', key, from, from + math.min(limit - #answer, 100) - 1)
    if #some == 0 then return end
    for i, m in ipairs(some) do
      if not graves or not redis.call('ZSCORE', graves, id_of(m)) then
        answer[#answer + 1] = {at, priority, from + i - 1, m}
      end
    end
    from = from + #some
  end
end

for at = 4, #ARGV do
  local queue = ARGV[at]
  local graves = redis.call('EXISTS', root .. 'z:' .. queue) == 1 and root .. 'z:' .. queue or nil
  for priority = at == 4 and tonumber(ARGV[2]) or 9, 0, -1 do
    list(at - 4, queue, priority, graves)
    if #answer >= limit then return answer end
    from = 0
  end
end
return answer
