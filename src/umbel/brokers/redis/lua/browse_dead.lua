-- Dead letters, newest first.
-- KEYS  1 root · 2 dead (hash) · 3 died (zset)
-- ARGV  1 how many at most · 2 how many to look at · 3 queue, '' for any · 4 ms of dying and 5 name of the last one that was
--       seen, both '' to begin
-- Returns {'1' if there are more, ms of dying and name of the last one looked at, {letter, ms, name} …}
-- Cost: O(letters looked at). Writes nothing.
-- @include route record ring limit lane place keyed node flow member ending front bury letters
local limit, budget, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local from = 0
if ARGV[5] ~= '' then
  local rank = redis.call('ZREVRANK', KEYS[3], ARGV[5])
  -- Gone meanwhile: those that died in its millisecond are shown again rather than not at all.
  from = rank and rank + 1 or redis.call('ZCOUNT', KEYS[3], '(' .. ARGV[4], '+inf')
end
local names = redis.call('ZREVRANGE', KEYS[3], from, from + budget - 1, 'WITHSCORES')
local answer, looked = {'0', ARGV[4], ARGV[5]}, 0
for i = 1, #names, 2 do
  if #answer - 3 >= limit then break end
  local letter = redis.call('HGET', KEYS[2], names[i])
  if letter and (wanted == '' or open_letter(letter) == wanted) then answer[#answer + 1] = {letter, names[i + 1], names[i]} end
  answer[2], answer[3] = names[i + 1], names[i]
  looked = looked + 1
end
if from + looked < redis.call('ZCARD', KEYS[3]) then answer[1] = '1' end
return answer
