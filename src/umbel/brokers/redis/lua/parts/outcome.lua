-- Apply an outcome to a message that has left its holder's hands. Needs: route, place, ending, front, bury.
-- kind, a, b:  D done · V done (result) · X dropped (reason, error) · B dead (reason, error) · R retry (after ms, error) ·
--              F released (after ms, '1' if parked)
-- Answers with the reason if the message went another way than the outcome says.
local function apply_outcome(root, now, queue, m, kind, a, b)
  if kind == 'D' or kind == 'V' then
    ended(root, now, m, 'D', '', '', kind == 'V' and a or nil)
    return nil
  end
  if kind == 'X' then
    ended(root, now, m, a == 'expired' and 'X' or 'V', a, b)
    return nil
  end
  if kind == 'B' then
    bury(root, now, queue, m, a, b)
    return nil
  end
  if bit.band(struct.unpack('>H', m, 3), CANCELLED) ~= 0 then
    ended(root, now, m, 'V', 'cancelled', '')
    return 'cancelled'
  end
  local due = now + tonumber(a)
  if kind == 'R' then
    m = never_parked(with_attempt(m))
    local number = place(root, now, queue, due, m)
    put_off(root, m, due, number, b)
    return nil
  end
  if b == '1' then m = with_parked(m, now) elseif due > now then m = never_parked(m) end
  if due > now then
    local number = place(root, now, queue, due, m)
    put_off(root, m, due, number)
  else
    place_in_front(root, {{queue, m}})
  end
  return nil
end
