-- Fire ticks of schedules: enqueue the message and move the schedule on, each once.
-- KEYS  1 root · 2 queues (set)
-- ARGV  1 for how long an explicit id is remembered, ms · 2 a record after its end, ms · 3 … firings: name, revision, tick, missed,
--       '1' if not while the last one's message goes on, n, and n arguments: a run of one envelope (parts/accept.lua), or none
-- Made from root: tick:NAME (hash) · r:PRIORITY:QUEUE (list) · s:QUEUE (zset) · t:QUEUE (list) · ids (zset) · serial (counter) ·
--                 recorded (set) · m:ID (hash) · n:ID (stream)
-- Returns {now, {one letter, done as text}, …}: F fired, O overlaps, T taken, U future, C changed.
-- Cost: O(1) per firing. Refused whole when the server has no room.
-- @include clock route record ring limit lane place rank keyed node flow member ending front enter accept
local root, now = KEYS[1], server_now()
local dedupe_ms, record_ms = tonumber(ARGV[1]), tonumber(ARGV[2])

local function goes_on(id)
  local state = id and redis.call('HGET', root .. 'm:' .. id, 's')
  return state and not records().is_final(state)
end

local function fire(at, count)
  local key, tick = root .. 'tick:' .. ARGV[at], ARGV[at + 2]
  local entry = redis.call('HMGET', key, 'v', 'p', 't', 'i')
  local done = entry[3] or '0'
  if entry[1] ~= ARGV[at + 1] or entry[2] == '1' then return {'C', done} end
  if tonumber(tick) <= tonumber(done) then return {'T', done} end
  if tonumber(tick) > now then return {'U', done} end
  redis.call('HSET', key, 't', tick)
  redis.call('HINCRBY', key, 'm', ARGV[at + 3])
  if count == 0 then return {'F', tick} end
  if ARGV[at + 4] == '1' and goes_on(entry[4]) then
    redis.call('HINCRBY', key, 'k', 1)
    return {'O', tick}
  end
  local first = at + 6
  accept(root, now, ARGV, first, first + count - 1, dedupe_ms, record_ms)
  redis.call('HINCRBY', key, 'f', 1)
  redis.call('HSET', key, 'l', tick, 'a', string.format('%.0f', now), 'i', id_of(ARGV[first + count - 1]))
  return {'F', tick}
end

local answer, at = {now}, 3
while at <= #ARGV do
  local count = tonumber(ARGV[at + 5])
  answer[#answer + 1] = fire(at, count)
  at = at + 6 + count
end
return answer
