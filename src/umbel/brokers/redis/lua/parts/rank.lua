-- Where something stands in a queue's schedule. Needs: place.
-- The rank of the first member that does not come before (due, number). Members of one due time are in the order of their
-- numbers, so it is found by halving: O(log n) look-ups, however many are due at once.
local function rank_of(key, due, number)
  local low = redis.call('ZCOUNT', key, '-inf', '(' .. due)
  local high = low + redis.call('ZCOUNT', key, due, due)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local member = redis.call('ZRANGE', key, middle, middle)[1]
    if struct.unpack('>I6', member) < number then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- The member that a record's d (`due:number`) speaks of, or nil.
local function scheduled_at(root, queue, d)
  local due, number = string.match(d, '^(%d+):(%d+)$')
  local key = root .. 's:' .. queue
  local rank = rank_of(key, due, tonumber(number))
  local found = redis.call('ZRANGE', key, rank, rank, 'WITHSCORES')
  if not found[1] or tonumber(found[2]) ~= tonumber(due) or struct.unpack('>I6', found[1]) ~= tonumber(number) then return nil end
  return found[1], due
end
