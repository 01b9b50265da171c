-- A holder's hands: the hash h:HOLDER. Needs: lane, place, front.
-- Fields: w its worker, s its last sequence number, v that exchange's verdicts, d what it dropped (if anything), m once it
-- was handed a tracked message, l how many of its deliveries have extras (no field for none), and one field `sequence:index` for each delivery.

local function by_receipt(found)
  table.sort(found, function(x, y)
    if x[1] ~= y[1] then return x[1] < y[1] end
    return x[2] < y[2]
  end)
end

-- All deliveries, sorted by receipt: {sequence, index, field, value}.
local function deliveries_of(held)
  local found = {}
  local all = redis.call('HGETALL', held)
  for i = 1, #all, 2 do
    local seq, index = string.match(all[i], '^(%d+):(%d+)$')
    if seq then found[#found + 1] = {tonumber(seq), tonumber(index), all[i], all[i + 1]} end
  end
  by_receipt(found)
  return found
end

-- Admission withdrawn for good: the name is kept for a day, so that it is never admitted again.
local function forget_holder(root, now, holder, worker)
  redis.call('DEL', root .. 'h:' .. holder, root .. 'k:' .. holder)
  redis.call('ZADD', root .. 'gone', now, holder)
  if worker then redis.call('SREM', root .. 'w:' .. worker, holder) end
end

-- A delivery that has left its holder's hand holds no limit any more.
local function let_go(root, holder, field, m, unbegun)
  if has_extras(m) then lanes(root).left(m, holder .. ':' .. field, unbegun) end
end

-- Sort what a holder has left behind into what goes back (answered, in order) and what was cancelled (noted).
local function split_cancelled(root, now, found, dropped, holder, unbegun)
  local back = {}
  for _, one in ipairs(found) do
    local queue, m = queue_and_message(one[4])
    let_go(root, holder, one[3], m, unbegun)
    if readable(m) and bit.band(struct.unpack('>H', m, 3), CANCELLED) ~= 0 then
      drop(root, now, dropped, queue, m, 'cancelled')
    else
      back[#back + 1] = {queue, m}
    end
  end
  return back
end
