-- Some nodes of a flow.
-- KEYS  1 root · 2 the flow f:FLOW · 3 its nodes fn:FLOW
-- ARGV  1 how many at most · 2 where to go on: cursor of a scan · 3 and how many of what it answers were seen
-- Returns {cursor or '', how many of that were seen, {number, what a node keeps but its message …} …}. Cost: O(nodes looked at). Writes nothing.
-- @include clock
local ends = redis.call('HGET', KEYS[2], 'en')
if ends and tonumber(ends) <= server_now() then return {'', 0} end
local limit, cursor, seen = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local answer = {'', 0}
while #answer - 2 < limit do
  local found = redis.call('HSCAN', KEYS[3], cursor, 'COUNT', limit)
  local flat = found[2]
  for i = 2 * seen + 1, #flat, 2 do
    if #answer - 2 == limit then
      answer[1], answer[2] = cursor, seen
      return answer
    end
    local node = cmsgpack.unpack(flat[i + 1])
    table.insert(node, 1, flat[i])
    for at, value in ipairs(node) do
      if type(value) == 'number' then node[at] = string.format('%.0f', value) end
    end
    answer[#answer + 1] = node
    seen = seen + 1
  end
  cursor, seen = found[1], 0
  if cursor == '0' then return answer end
end
answer[1] = cursor
return answer
