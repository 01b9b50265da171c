-- Flows, newest first.
-- KEYS  1 root · 2 flows (zset)
-- ARGV  1 how many at most · 2 ms of beginning and 3 id of the last one that was seen, both '' to begin
-- Made from root: f:FLOW
-- Returns {'1' if there are more, ms and id of the last one looked at, {id, its fields as Redis lists a hash} …}. Cost: O(flows looked at).
-- Writes nothing.
-- @include clock
local root, limit, now, from = KEYS[1], tonumber(ARGV[1]), server_now(), 0
if ARGV[3] ~= '' then
  local rank = redis.call('ZREVRANK', KEYS[2], ARGV[3])
  from = rank and rank + 1 or redis.call('ZCOUNT', KEYS[2], '(' .. ARGV[2], '+inf')
end
local found = redis.call('ZREVRANGE', KEYS[2], from, from + limit - 1, 'WITHSCORES')
local answer = {from + #found / 2 < redis.call('ZCARD', KEYS[2]) and '1' or '0', ARGV[2], ARGV[3]}
local names = {'e', 'o', 'lb', 'rs', 'oe', 't', 'dn', 'fl', 'ab', 'mv', 'st', 'fi', '1n', '1i', '1r', '1e', 'c', 'u'}
for i = 1, #found, 2 do
  local key = root .. 'f:' .. found[i]
  local ends = redis.call('HGET', key, 'en')
  answer[2], answer[3] = found[i + 1], found[i]
  if not ends or tonumber(ends) > now then
    local values, one = redis.call('HMGET', key, unpack(names)), {found[i]}
    for j, name in ipairs(names) do
      if values[j] then
        one[#one + 1] = name
        one[#one + 1] = values[j]
      end
    end
    answer[#answer + 1] = one
  end
end
return answer
