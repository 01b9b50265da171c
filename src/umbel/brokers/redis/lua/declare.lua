-- Write the numbers that code declares for rules; they are in force at once, for all limits that follow them.
-- KEYS  1 root
-- ARGV  rule, numbers …
-- Made from root: rules (hash) · changed (set) · those of parts/lane.lua
-- Returns 1 if there are lanes left to be looked at again, for rest.lua, else 0.
-- Cost: O(rules + limits with lanes that wait for one of them), at most about 1,000 of these.
-- @include clock route ring limit lane reconsider
local root = KEYS[1]
redis.call('SREM', root .. 'changed', '') -- the first write, and one that is never refused for lack of room
for i = 1, #ARGV, 2 do
  if redis.call('HGET', root .. 'rules', ARGV[i]) ~= ARGV[i + 1] then
    redis.call('HSET', root .. 'rules', ARGV[i], ARGV[i + 1])
    redis.call('SADD', root .. 'changed', ARGV[i])
  end
end
return reconsider(root, 1000)
