-- All schedules.
-- KEYS  1 root · 2 ticks (hash) · 3 schedules (set)
-- Made from root: tick:NAME (hash), see parts/ticks.lua
-- Returns {now, revision, stamp, {name, rule, definition, origin, revision, paused, done, fired, overlapped, missed, last tick,
--         last fired, last id}, …}; what is not there is ''.
-- Cost: O(schedules). Writes nothing.
-- @include clock
local state = redis.call('HMGET', KEYS[2], 'rev', 'stamp')
local answer = {server_now(), state[1] or '0', state[2] or ''}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  local row = redis.call('HMGET', KEYS[1] .. 'tick:' .. name, 'r', 'd', 'o', 'v', 'p', 't', 'f', 'k', 'm', 'l', 'a', 'i')
  for i = 1, 12 do row[i] = row[i] or '' end
  table.insert(row, 1, name)
  answer[#answer + 1] = row
end
return answer
