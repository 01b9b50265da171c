-- Schedules. The hash tick:NAME of each: d definition · r rule · o origin, c code or r runtime · v revision · p '1' while paused ·
-- t ticks up to here are dealt with · f fired · k overlapped · m missed · l last tick · a when it was fired · i id of its message,
-- as stored. The set schedules has their names; the hash ticks has rev (rises with every change of a definition), stamp (of
-- the set of code in force) and upheld (until when). Numbers of ms are texts of digits, which HINCRBY and tonumber keep whole.
local function digits(number)
  return string.format('%.0f', number)
end

local function rise(root)
  return redis.call('HINCRBY', root .. 'ticks', 'rev', 1)
end

-- Make a schedule, or change it; one that is the same is left alone.
local function write_schedule(root, name, rule, definition, origin, since)
  local key = root .. 'tick:' .. name
  local was = redis.call('HMGET', key, 'r', 'd', 't')
  if was[1] == rule and was[2] == definition then return end
  local done = since
  if was[1] then
    done = tonumber(was[3])
    if was[1] ~= rule then done = math.max(done, since) end
  end
  redis.call('SADD', root .. 'schedules', name)
  redis.call('HSET', key, 'r', rule, 'd', definition, 'o', origin, 'v', rise(root), 't', digits(done))
end

local function remove_schedule(root, name)
  if redis.call('SREM', root .. 'schedules', name) == 0 then return 0 end
  redis.call('DEL', root .. 'tick:' .. name)
  rise(root)
  return 1
end
