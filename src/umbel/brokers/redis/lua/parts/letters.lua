-- Reading dead letters. Needs: bury.

-- The queue that it died in, and the message.
local function open_letter(letter)
  local at = 9
  local queue = string.sub(letter, at + 1, at + string.byte(letter, at))
  at = at + 1 + #queue
  at = at + 1 + string.byte(letter, at)
  return queue, string.sub(letter, at + 4 + struct.unpack('>I4', letter, at))
end

-- Do `act` with each dead letter that is meant; it answers true if that took the letter away.
-- args: queue ('' for any), first rank ('' where names follow), last ms of dying, names …
-- Answers with how many were taken away, and the rank to go on with, or -1. By rank, it stops after a few megabytes.
local function each_letter(root, args, act)
  local wanted, from, names, next = args[1], tonumber(args[2]), {}, -1
  if from then
    local last = redis.call('ZCOUNT', root .. 'died', '-inf', args[3])
    local stop = math.min(from + CHUNK, last)
    if stop > from then names = redis.call('ZRANGE', root .. 'died', from, stop - 1) end
    if stop < last then next = stop end
  else
    for i = 4, #args do names[#names + 1] = args[i] end
  end
  local count, bytes = 0, 0
  for i, name in ipairs(names) do
    local letter = redis.call('HGET', root .. 'dead', name)
    if letter then
      bytes = bytes + #letter
      local queue, m = open_letter(letter)
      if (wanted == '' or wanted == queue) and act(name, queue, m) then count = count + 1 end
    end
    if from and bytes >= HEAVY and i < #names then
      next = from + i
      break
    end
  end
  -- what was taken away moved the rest up
  return count, next < 0 and next or next - count
end
