-- A holder is dead: withdraw its admission and deal with all it held.
-- KEYS  1 root · 2 the holder's hash h:HOLDER
-- ARGV  1 holder · 2 error to keep with a crash's dead letter · 3 '' if nobody can tell what it had begun
--       then for each delivery to blame: its field · kind of its outcome, or '' for a crash · a · b (see parts/outcome.lua)
-- Made from root: k:HOLDER (zset) · w:WORKER (set) · gone (zset) · r:PRIORITY:QUEUE s:QUEUE t:QUEUE serial dead died
--                 buried deadsize · m:ID n:ID · those of parts/lane.lua, limit.lua, keyed.lua
-- Returns {how many went back, {id, queue, reason of each blamed one that died …}, {id, queue, reason … removed}}
-- Cost: O(n log n) of what it held.
-- @include clock route record ring limit lane place keyed node flow member ending front bury outcome holder
local root, held, now = KEYS[1], KEYS[2], server_now()
local back, blamed, removed, returned = {}, {}, {}, 0
local blame, suspects = {}, 0
for at = 4, #ARGV, 4 do
  blame[ARGV[at]] = at
  if ARGV[at + 1] == '' then suspects = suspects + 1 end
end

-- Counted against the message itself. Answers with what goes back in front, or nil. What a newer release handed out goes
-- back as it is: its counters and flags are not ours to read.
local function crashed(queue, m)
  if not readable(m) then return m end
  m = raised(m, 8)
  local flags, limit, crashes = struct.unpack('>H', m, 3), string.byte(m, 6), string.byte(m, 8)
  local reason = nil
  if bit.band(flags, CANCELLED) ~= 0 then
    drop(root, now, removed, queue, m, 'cancelled')
    return nil
  elseif bit.band(flags, LOST_DEAD) ~= 0 then
    reason = 'worker_lost'
  elseif limit > 0 and crashes >= limit and suspects == 1 then
    reason = 'poison'
  end
  if not reason then return with_flag(m, ALONE) end
  bury(root, now, queue, m, reason, ARGV[2])
  note(blamed, queue, m, reason)
  return nil
end

local function settled(queue, m, at)
  local reason = apply_outcome(root, now, queue, m, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  if reason then
    note(removed, queue, m, reason)
  elseif ARGV[at + 1] == 'B' then
    note(blamed, queue, m, ARGV[at + 2])
  end
end

local function go_back(one)
  back[#back + 1] = one
  returned = returned + 1
end

-- With nobody to blame, nobody can tell whether one that must not run twice was begun.
local function innocent(one)
  if ARGV[3] == '' and readable(one[2]) and bit.band(struct.unpack('>H', one[2], 3), LOST_DEAD) ~= 0 then
    bury(root, now, one[1], one[2], 'worker_lost', ARGV[2])
    note(removed, one[1], one[2], 'worker_lost')
  else
    go_back(one)
  end
end

local worker = redis.call('HGET', held, 'w')
local found = deliveries_of(held)
forget_holder(root, now, ARGV[1], worker)
for _, one in ipairs(found) do
  local queue, m = queue_and_message(one[4])
  local at = blame[one[3]]
  if at then let_go(root, ARGV[1], one[3], m, ARGV[at + 1] == 'F' and ARGV[at + 3] == '2') end
  if at and ARGV[at + 1] ~= '' then
    settled(queue, m, at)
  elseif at then
    m = crashed(queue, m)
    if m then go_back({queue, m}) end
  else
    for _, other in ipairs(split_cancelled(root, now, {one}, removed, ARGV[1], ARGV[3] ~= '')) do innocent(other) end
  end
end
place_in_front(root, back)
return {returned, blamed, removed}
