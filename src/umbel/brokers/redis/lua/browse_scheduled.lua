-- Scheduled messages of some queues by due time.
-- KEYS  1 root
-- ARGV  1 how many at most · 2 due time and 3 number of the last one that was seen, -1 and 0 to begin · 4 … queues
-- Made from root: s:QUEUE
-- Returns {due, number, queue, envelope} … Cost: O(queues x (log n + messages answered)). Writes nothing.
-- @include route record ring limit lane place keyed node flow member ending front rank
local root, limit, due, number = KEYS[1], tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local found = {}
for at = 4, #ARGV do
  local key = root .. 's:' .. ARGV[at]
  local from = rank_of(key, due, number + 1)
  local some = redis.call('ZRANGE', key, from, from + limit - 1, 'WITHSCORES')
  for i = 1, #some, 2 do
    found[#found + 1] = {some[i + 1], struct.unpack('>I6', some[i]), ARGV[at], string.sub(some[i], SERIAL + 1)}
    found[#found][5] = tonumber(some[i + 1])
  end
end
table.sort(found, function(x, y)
  if x[5] ~= y[5] then return x[5] < y[5] end
  return x[2] < y[2]
end)
local answer = {}
for i = 1, math.min(limit, #found) do answer[i] = {found[i][1], found[i][2], found[i][3], found[i][4]} end
return answer
