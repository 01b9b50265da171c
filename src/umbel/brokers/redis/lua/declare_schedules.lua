-- Put the schedules of a release's code in force, unless a newer release's are.
-- KEYS  1 root · 2 ticks (hash) · 3 stamps (zset by number) · 4 schedules (set)
-- ARGV  1 stamp · 2 for how long it is upheld, ms · 3 since, ms · 4 stamps to keep · 5 '1' if schedules follow ·
--       6 … name, rule, definition of each
-- Made from root: tick:NAME (hash), see parts/ticks.lua
-- Returns 1 if they are in force, else 0. Cost: O(schedules in the store and in the call); O(1) if nothing changes.
-- @include clock ticks
local root, stamp, now = KEYS[1], ARGV[1], server_now()

local function gives_way(current, upheld)
  local mine = redis.call('ZSCORE', KEYS[3], stamp)
  if not mine then
    local last = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')
    mine = (tonumber(last[2]) or 0) + 1
    redis.call('ZADD', KEYS[3], mine, stamp)
    redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[4]))
  end
  if not current or upheld <= now then return true end
  return tonumber(mine) > (tonumber(redis.call('ZSCORE', KEYS[3], current)) or 0)
end

local function put_in_force(since)
  local named = {}
  for at = 6, #ARGV, 3 do named[ARGV[at]] = true end
  for _, name in ipairs(redis.call('SMEMBERS', KEYS[4])) do
    if not named[name] and redis.call('HGET', root .. 'tick:' .. name, 'o') == 'c' then remove_schedule(root, name) end
  end
  for at = 6, #ARGV, 3 do
    if redis.call('HGET', root .. 'tick:' .. ARGV[at], 'o') ~= 'r' then
      write_schedule(root, ARGV[at], ARGV[at + 1], ARGV[at + 2], 'c', since)
    end
  end
end

local state = redis.call('HMGET', KEYS[2], 'stamp', 'upheld')
if state[1] ~= stamp then
  if ARGV[5] ~= '1' or not gives_way(state[1], tonumber(state[2]) or 0) then return 0 end
  put_in_force(math.min(tonumber(ARGV[3]), now))
end
redis.call('HSET', KEYS[2], 'stamp', stamp, 'upheld', digits(now + tonumber(ARGV[2])))
return 1
