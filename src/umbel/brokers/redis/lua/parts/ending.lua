-- What becomes of a message, told to all that keep an account of it: its record, the key by which it stands for others, and the flow that
-- it is a member of. Needs: route, record, keyed, member. Whoever ends or moves a message calls one of these once, in the step that does it.
-- how: D done · F a dead letter, whose name is `letter` · V revoked · X expired, the letters of its record. `result` nil: there is none.
local function ended(root, now, m, how, reason, error, result, letter)
  if not readable(m) then return end
  if is_tracked(m) then records().finish(root, now, m, how, reason, error, result) end
  if has_extras(m) then
    keyed(root).ended(m)
    if how == 'D' then members().done(root, now, m, result) else members().failed(root, now, m, reason, error, letter) end
  end
end

-- It stands ready.
local function ready_again(root, m)
  if is_tracked(m) then records().pending(root, m) end
  if has_extras(m) and readable(m) then members().moved(root, m, '') end
end

-- It waits till `due`, under `number` in its queue's schedule (nil: not there, it is ready). `error` nil: it was no attempt.
local function put_off(root, m, due, number, error)
  if is_tracked(m) then records().waits(root, m, due, number, error) end
  if has_extras(m) and readable(m) then members().moved(root, m, number and string.format('%.0f:%.0f', due, number) or '') end
end
