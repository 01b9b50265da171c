-- Say numbers that count instead of declared ones, or no longer; in force at once, for all limits that follow the rule.
-- KEYS  1 root
-- ARGV  1 rule · 2 rate (count,period,burst), '' for none, 'kept' for what was said before · 3 concurrency, likewise
-- Made from root: rules overrides (hashes) · changed (set) · those of parts/lane.lua
-- Returns {1 if that changed anything, 1 if there are lanes left to be looked at again, for rest.lua}.
-- Cost: O(limits with lanes that wait for it), at most about 1,000.
-- @include clock route ring limit lane reconsider
local root, rule = KEYS[1], ARGV[1]
redis.call('SREM', root .. 'changed', '') -- the first write, and one that is never refused for lack of room
local before = redis.call('HGET', root .. 'overrides', rule) or ',,,'
local rate, most = string.match(before, '^(%-?%d*,%d*,%d*),(%-?%d*)')
if ARGV[2] ~= 'kept' then rate = ARGV[2] == '' and ',,' or ARGV[2] end
if ARGV[3] ~= 'kept' then most = ARGV[3] end
local after = (rate or ',,') .. ',' .. (most or '')
if after == before then return {0, reconsider(root, 1000)} end
if after == ',,,' then
  redis.call('HDEL', root .. 'overrides', rule)
else
  redis.call('HSET', root .. 'overrides', rule, after)
  if redis.call('HEXISTS', root .. 'rules', rule) == 0 then redis.call('HSET', root .. 'rules', rule, ',,,') end
end
redis.call('SADD', root .. 'changed', rule)
return {1, reconsider(root, 1000)}
