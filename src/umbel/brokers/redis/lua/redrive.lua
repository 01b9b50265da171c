-- Make dead letters ready again, counters begun anew but the delivery, which fences, behind what waits.
-- KEYS  1 root
-- ARGV  1 ms that a record is kept after its end · 2 queue ('' for any) · 3 first rank ('' where names follow) ·
--       4 last ms of dying · 5 … names
-- Made from root: dead died buried deadsize · r:PRIORITY:QUEUE t:QUEUE · recorded m:ID n:ID · those of parts/lane.lua, limit.lua, keyed.lua
-- Returns {how many, the rank to go on with or -1}. Unreadable ones stay: they would only come back; so do those whose unique key
--         another message has: it does what they were to do.
-- Cost: O(letters looked at), at most 1,000 where no names are given.
-- @include clock route record ring limit lane place keyed front bury letters
local root, now = KEYS[1], server_now()
local args = {}
for i = 2, #ARGV do args[#args + 1] = ARGV[i] end

local function revived(m)
  local flags = struct.unpack('>H', m, 3)
  flags = flags - bit.band(flags, ALONE + CANCELLED)
  return string.sub(m, 1, 2) .. struct.pack('>H', flags) .. string.sub(m, 5, 7) .. struct.pack('>BBI4', 0, 0, 1)
    .. string.sub(m, 14, 33) .. struct.pack('>I8', 0) .. string.sub(m, 42)
end

local count, next = each_letter(root, args, function(name, queue, m)
  if not readable(m) then return false end
  local tag, key = nil, nil
  if has_extras(m) then tag, key = keyed(root).key_of(m) end
  if tag == UNIQUE then
    if keyed(root).take(m, key) then return false end
    redis.call('SADD', root .. 'recorded', queue)
  end
  unbury(root, name)
  m = revived(m)
  place(root, now, queue, 0, m)
  if is_tracked(m) then
    records().begin(root, now, queue, m, tonumber(ARGV[1]))
    if tag == UNIQUE then keyed(root).record(m) end
  end
  return true
end)
return {count, next}
