-- The route of a packed envelope (umbel/envelope.py), read and changed at fixed offsets and never parsed any further.
-- Lua counts from 1: what stands at offset n of that table is byte n + 1 here.
local HEAD = 41
local LOST_DEAD, ALONE, CANCELLED, RAW_ID, EXTRA, TRACKED = 0x0004, 0x0008, 0x0010, 0x4000, 0x8000, 0x0001
local HANDED_ALONE = LOST_DEAD + ALONE
-- Those that make a hand-over more than a move: none of them is set on the plain path. TRACKED is the lowest bit.
local SPECIAL = HANDED_ALONE + TRACKED

-- Is it UTF-8 as Python's strict decoder has it: no overlong form, no surrogate, nothing above U+10FFFF?
local function is_text(s)
  if not string.find(s, '[\128-\255]') then return true end
  local at, n = 1, #s
  while at <= n do
    local a, b = string.byte(s, at, at + 1)
    local more = 0
    if a >= 0x80 then
      b = b or 0
      if a >= 0xC2 and a <= 0xDF then more = 1
      elseif a >= 0xE0 and a <= 0xEF then more = 2
      elseif a >= 0xF0 and a <= 0xF4 then more = 3
      else return false end
      if (a == 0xE0 and b < 0xA0) or (a == 0xED and b > 0x9F) or (a == 0xF0 and b < 0x90) or (a == 0xF4 and b > 0x8F) then return false end
      for i = at + 1, at + more do
        local c = string.byte(s, i)
        if not c or c < 0x80 or c > 0xBF then return false end
      end
    end
    at = at + more + 1
  end
  return true
end

-- Do the extras that begin after byte `at` end where they say, each of them too?
local function has_whole_extras(m, at)
  local a, b = string.byte(m, at + 1, at + 2)
  if not b then return false end
  local stop = at + 2 + a * 256 + b
  if stop > #m then return false end
  at = at + 2
  while at < stop do
    local high, low = string.byte(m, at + 2, at + 3)
    at = at + 3 + (high or 0) * 256 + (low or 0)
    if at > stop then return false end
  end
  return true
end

-- Will envelope.unpack read it? Answers with the flags and the expiry, or nil.
local function readable(m)
  if #m <= HEAD then return nil end
  local version, head, flags, expires = struct.unpack('>BBHxxxxxxxxxxxxxxxxxxxxxI8', m)
  if version ~= 1 or head < HEAD then return nil end
  local size = string.byte(m, head + 1)
  if not size or size == 0 then return nil end
  local stop = head + 1 + size
  if stop > #m then return nil end
  if flags % 0x8000 >= RAW_ID then
    if size ~= 16 then return nil end
  elseif not is_text(string.sub(m, head + 2, stop)) then
    return nil
  end
  if flags >= EXTRA and not has_whole_extras(m, stop) then return nil end
  return flags, expires
end

-- Its id as stored, after one letter that says how to read it (r: raw UUID, t: text); '' for an unreadable one.
local function id_of(m)
  local flags = readable(m)
  if not flags then return '' end
  local head = string.byte(m, 2)
  local size = string.byte(m, head + 1)
  return (flags % 0x8000 >= RAW_ID and 'r' or 't') .. string.sub(m, head + 2, head + 1 + size)
end

-- Of any bytes: may it have extras?
local function has_extras(m)
  return (string.byte(m, 3) or 0) >= 0x80
end

-- The value of its extra with that tag, or nil.
local function extra_of(m, tag)
  local flags = readable(m)
  if not flags or flags < EXTRA then return nil end
  local head = string.byte(m, 2)
  local at = head + 2 + string.byte(m, head + 1)
  local stop = at + 2 + struct.unpack('>H', m, at)
  at = at + 2
  while at < stop do
    local this, size = struct.unpack('>BH', m, at)
    if this == tag then return string.sub(m, at + 3, at + 2 + size) end
    at = at + 3 + size
  end
  return nil
end

-- A foreign message's priority byte may be anything; it still has to stand in a list that claims look at.
local function priority_of(m)
  return math.min(string.byte(m, 5) or 5, 9)
end

local function with_flag(m, flag)
  local flags = struct.unpack('>H', m, 3)
  if bit.band(flags, flag) ~= 0 then return m end
  return string.sub(m, 1, 2) .. struct.pack('>H', flags + flag) .. string.sub(m, 5)
end

-- Raise the one-byte counter that is byte `at`. Counters saturate.
local function raised(m, at)
  return string.sub(m, 1, at - 1) .. string.char(math.min(string.byte(m, at) + 1, 255)) .. string.sub(m, at + 1)
end

local function with_attempt(m)
  local attempt = struct.unpack('>I4', m, 10)
  return string.sub(m, 1, 9) .. struct.pack('>I4', math.min(attempt + 1, 0xFFFFFFFF)) .. string.sub(m, 14)
end

local function with_delivery(m)
  local delivery = struct.unpack('>I4', m, 14)
  return string.sub(m, 1, 13) .. struct.pack('>I4', math.min(delivery + 1, 0xFFFFFFFF)) .. string.sub(m, 18)
end

-- The first time that it was parked stays.
local function with_parked(m, now)
  if struct.unpack('>I8', m, 34) > 0 then return m end
  return string.sub(m, 1, 33) .. struct.pack('>I8', now) .. string.sub(m, 42)
end

-- It has run, so the time of a wait to come counts from then on.
local function never_parked(m)
  if struct.unpack('>I8', m, 34) == 0 then return m end
  return string.sub(m, 1, 33) .. string.rep('\0', 8) .. string.sub(m, 42)
end
