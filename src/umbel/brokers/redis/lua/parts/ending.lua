-- The end of a message, told to all that keep an account of it. Needs: route, record.
-- how: D done · F a dead letter · V revoked · X expired, the letters of its record. `result` nil: there is none.
-- Whoever ends a message calls this once, in the step that takes it out of its place.
local function ended(root, now, m, how, reason, error, result)
  if is_tracked(m) and readable(m) then records().finish(root, now, m, how, reason, error, result) end
end
