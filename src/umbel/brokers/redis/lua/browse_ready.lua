-- Ready messages of some queues in the order of claiming, as well as it can be said: of each priority the list, then the lanes in turn.
-- KEYS  1 root
-- ARGV  1 how many at most · 2 place of the first queue's lists to begin with: 2 x (9 - priority), 1 more for its lanes · 3 how many of
--       that list to pass over, or of each of those lanes · 4 how many of those lanes then · 5 … queues
-- Made from root: r:PRIORITY:QUEUE z:QUEUE i:QUEUE · l:n:QUEUE:SPOT x:LIMIT debounced
-- Returns {queue's place among those asked for, place of the list, place in it or in its lane, the lane's place, envelope} …;
--         cancelled ones are left out.
-- Cost: O(messages answered + queues + lanes); passing over costs next to nothing. Writes nothing.
-- @include route record ring limit lane keyed
local root, limit, from, after = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local answer = {}

local function show(at, list, place, turn, m, graves)
  if graves and redis.call('ZSCORE', graves, id_of(m)) then return end
  answer[#answer + 1] = {at, list, place, turn, has_extras(m) and keyed(root).shown(m) or m}
end

local function plain(at, list, queue, graves)
  local key = root .. 'r:' .. (9 - list / 2) .. ':' .. queue
  while #answer < limit do
    local some = redis.call('LRANGE', key, from, from + math.min(limit - #answer, 100) - 1)
    if #some == 0 then return end
    for i, m in ipairs(some) do show(at, list, from + i - 1, 0, m, graves) end
    from = from + #some
  end
end

local function laned(at, list, queue, graves)
  local spots, found = lanes(root).turns(queue, 9 - (list - 1) / 2), true
  while found do
    found = after > 0
    for turn = after + 1, #spots do
      local m = redis.call('LINDEX', lanes(root).list_of(queue, spots[turn]), from)
      if m then
        found = true
        show(at, list, from, turn, m, graves)
        if #answer >= limit then return end
      end
    end
    from, after = from + 1, 0
  end
end

for at = 5, #ARGV do
  local queue = ARGV[at]
  local graves = redis.call('EXISTS', root .. 'z:' .. queue) == 1 and root .. 'z:' .. queue or nil
  local has_lanes = redis.call('EXISTS', root .. 'i:' .. queue) == 1
  for list = at == 5 and tonumber(ARGV[2]) or 0, 19 do
    if list % 2 == 0 then plain(at - 5, list, queue, graves) elseif has_lanes then laned(at - 5, list, queue, graves) end
    if #answer >= limit then return answer end
    from, after = 0, 0
  end
end
return answer
