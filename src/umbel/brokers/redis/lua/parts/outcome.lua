-- Apply an outcome to a message that has left its holder's hands. Needs: route, place, bury.
-- kind, a, b:  D done · X dropped · B dead (reason, error) · R retry (after ms) · F released (after ms, '1' if parked)
-- Answers with the reason if the message went another way than the outcome says.
local function apply_outcome(root, now, queue, m, kind, a, b)
  if kind == 'D' or kind == 'X' then return nil end
  if kind == 'B' then
    bury(root, now, queue, m, a, b)
    return nil
  end
  if bit.band(struct.unpack('>H', m, 3), CANCELLED) ~= 0 then return 'cancelled' end
  local after = tonumber(a)
  if kind == 'R' then
    place(root, now, queue, now + after, with_attempt(m))
  else
    if b == '1' then m = with_parked(m, now) end
    if after > 0 then
      place(root, now, queue, now + after, m)
    else
      place_in_front(root, {{queue, m}})
    end
  end
  return nil
end
