-- Read how a flow stands, and say that its end is waited for.
-- KEYS  1 root · 2 the flow f:FLOW
-- ARGV  1 ms that will be waited, '' for a mere look
-- Returns its fields as Redis lists a hash, without its handler; none if it is not there. Cost: O(1).
-- @include clock
local flow, now = KEYS[2], server_now()
redis.call('HDEL', flow, '') -- the first write, and one that is never refused for lack of room
local begun, open, ended, stopped, finished, ends = unpack(redis.call('HMGET', flow, 'c', 'o', 'e', 'st', 'fi', 'en'))
if begun and ends and tonumber(ends) <= now then return {} end
if ARGV[1] ~= '' then
  if not begun then
    -- It may begin while it is waited for. Nothing stays if it does not.
    redis.call('HSET', flow, 'w', '1')
    local stays = tonumber(ARGV[1]) + 60000
    if redis.call('PTTL', flow) < stays then redis.call('PEXPIRE', flow, string.format('%.0f', stays)) end
  elseif not ended and tonumber(stopped or 0) == 0 and tonumber(finished or 0) == 0 then
    redis.call('HSET', flow, 'w', '1')
  end
end
if not begun then return {} end
local names = {'e', 'o', 'lb', 'rs', 'oe', 't', 'dn', 'fl', 'ab', 'mv', 'st', 'fi', '1n', '1i', '1r', '1e', 'c', 'u'}
local values, answer = redis.call('HMGET', flow, unpack(names)), {}
for i, name in ipairs(names) do
  if values[i] then
    answer[#answer + 1] = name
    answer[#answer + 1] = values[i]
  end
end
return answer
