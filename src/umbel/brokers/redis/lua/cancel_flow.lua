-- End a flow that has not ended: nothing of it starts any more, what waits in queues is dropped, what runs is marked.
-- KEYS  1 root
-- ARGV  1 flow · 2 '1' to have workers end what runs
-- Made from root: the keys of a flow · s:QUEUE z:QUEUE h:HOLDER c:WORKER tombs serial · m:ID n:ID
-- Returns {1 if it was there and not finished, 1 if it is to be called again, ids as stored of those that run …}.
-- Cost: O(nodes looked at), about 1,000.
-- @include clock route record ring limit lane place keyed node flow member ending front bury rank cancelling steering
local root, now = KEYS[1], server_now()
redis.call('HDEL', root .. 'f:' .. ARGV[1], '') -- the first write, and one that is never refused for lack of room
local entry = flows().living(root, now, ARGV[1])
if not entry or entry.fi > 0 then return {0, 0} end
if entry.ended ~= 'V' then flows().end_it(entry, 'V', 'cancelled', now) end
local answer, running = {1, 0}, {}
if sweep(root, now, entry, ARGV[2] == '1', running) then answer[2] = 1 end
for i, id in ipairs(running) do answer[2 + i] = id end
return answer
