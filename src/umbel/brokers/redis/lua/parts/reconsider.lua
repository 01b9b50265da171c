-- After a rule was changed: every lane that waits for a limit which follows it may have room. Needs: lane.
-- changed: set of rules with which that is not done yet. At most about `budget` limits; answers with 1 if there are more.
local function reconsider(root, budget)
  for _, rule in ipairs(redis.call('SMEMBERS', root .. 'changed')) do
    lanes(root).wake(rule) -- a task's own limit is called like its rule
    local names = redis.call('ZRANGE', root .. 'b:' .. rule, 0, budget)
    for i = 1, math.min(#names, budget) do
      redis.call('ZREM', root .. 'b:' .. rule, names[i])
      lanes(root).wake(names[i])
    end
    if #names > budget then return 1 end
    budget = budget - #names
    redis.call('SREM', root .. 'changed', rule)
  end
  return 0
end
