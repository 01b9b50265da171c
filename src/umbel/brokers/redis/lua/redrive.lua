-- Make dead letters ready again, counters begun anew but the delivery, which fences, behind what waits.
-- KEYS  1 root
-- ARGV  1 ms that a record is kept after its end · 2 queue ('' for any) · 3 first rank ('' where names follow) ·
--       4 last ms of dying · 5 … names
-- Made from root: dead died buried deadsize · r:PRIORITY:QUEUE t:QUEUE · recorded m:ID n:ID · those of parts/lane.lua, limit.lua, keyed.lua
-- Returns {how many, the rank to go on with or -1}. Unreadable ones stay: they would only come back; so do those whose unique key
--         another message has: it does what they were to do.
-- Cost: O(letters looked at), at most 1,000 where no names are given.
-- @include clock route record ring limit lane place keyed node flow member ending front bury letters rank cancelling steering
local root, now = KEYS[1], server_now()
local args = {}
for i = 2, #ARGV do args[#args + 1] = ARGV[i] end

-- The dead letter of a flow's member: answers true if that is dealt with, and whether it is ready again.
local function as_member(name, m)
  local entry, number, node = members().member(root, m)
  if not entry then return false end
  if entry.ended then return true, false end -- it must not start
  if not members().is_failed(node) or redis.call('HGET', root .. 'fz:' .. entry.id, number) ~= name then return false end
  retried(root, now, entry, number, node)
  flows().go_on(entry, now)
  flows().save(entry)
  return true, true
end

local count, next = each_letter(root, args, function(name, queue, m)
  if not readable(m) then return false end
  local unique = false
  if has_extras(m) then
    local dealt, ready = as_member(name, m)
    if dealt then return ready end
    local tag, key = keyed(root).key_of(m)
    if tag == UNIQUE then
      if keyed(root).take(m, key) then return false end
      redis.call('SADD', root .. 'recorded', queue)
      unique = true
    end
  end
  unbury(root, name)
  m = revived(m)
  place(root, now, queue, 0, m)
  if is_tracked(m) then
    records().begin(root, now, queue, m, tonumber(ARGV[1]))
    if unique then keyed(root).record(m) end
  end
  return true
end)
return {count, next}
