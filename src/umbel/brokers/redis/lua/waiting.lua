-- May something be claimable in these queues?
-- KEYS  1 root
-- ARGV  1 '1' for one with empty hands, else a queue whose next message is to be handed out alone has nothing ready ·
--       2 … queues
-- Made from root: r:PRIORITY:QUEUE (list) · s:QUEUE z:QUEUE (zsets) · paused (set) · laned, and of lanes those of parts/lane.lua
-- Returns 0 if a queue that is not paused has something ready or due, else the ms until it has, or -1. Writes nothing.
-- Cost: O(queues).
-- @include clock route ring limit lane
local root, now, soonest = KEYS[1], server_now(), -1
local paused = redis.call('EXISTS', root .. 'paused') == 1
local with_lanes = redis.call('EXISTS', root .. 'laned') == 1

-- Would this message be dropped, or given to one whose hands are full?
local function is_for_all(m, queue)
  local flags = readable(m)
  if not flags or bit.band(flags, HANDED_ALONE) == 0 then return true end
  local expires = struct.unpack('>I8', m, 26)
  return expires > 0 and expires <= now or redis.call('ZSCORE', root .. 'z:' .. queue, id_of(m)) ~= false
end

-- Is there something for such a one, in the list or the lanes of the highest priority that has anything?
local function has_for_all(keys, queue, laned)
  for i, key in ipairs(keys) do
    local m = redis.call('LINDEX', key, 0)
    local other = laned == 10 - i and lanes(root).glimpse(queue)
    if m or other then return (not m or is_for_all(m, queue)) and (not other or is_for_all(other, queue)) end
  end
  return false
end

for at = 2, #ARGV do
  local queue = ARGV[at]
  if not (paused and redis.call('SISMEMBER', root .. 'paused', queue) == 1) then
    local keys = {}
    for priority = 9, 0, -1 do keys[#keys + 1] = root .. 'r:' .. priority .. ':' .. queue end
    local at, laned = nil, nil
    if with_lanes then
      local written
      at, written = lanes(root).looked(queue)
      if at and (at <= now or written > now) then
        at, laned = nil, lanes(root).first(queue)
        if not laned then return 0 end
      end
    end
    if (laned or redis.call('EXISTS', unpack(keys)) > 0) and (ARGV[1] == '1' or has_for_all(keys, queue, laned)) then return 0 end
    if at and (soonest < 0 or at - now < soonest) then soonest = at - now end
    local first = redis.call('ZRANGE', root .. 's:' .. queue, 0, 0, 'WITHSCORES')
    if first[2] then
      local left = math.max(tonumber(first[2]) - now, 0)
      if left == 0 then return 0 end
      if soonest < 0 or left < soonest then soonest = left end
    end
  end
end
return soonest
