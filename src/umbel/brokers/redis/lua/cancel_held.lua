-- Cancel a message that has no record in one holder's hands, if it is there.
-- KEYS  1 root · 2 the holder's hash h:HOLDER
-- ARGV  1 id as stored · 2 '1' to have its worker end it · 3 holder
-- Made from root: c:WORKER serial
-- Returns 1 if it was there, else 0. Cost: O(deliveries of the holder).
-- @include route record ring limit lane place keyed node flow member ending front holder cancelling
for _, one in ipairs(deliveries_of(KEYS[2])) do
  local _, m = queue_and_message(one[4])
  if id_of(m) == ARGV[1] then
    redis.call('HDEL', KEYS[2], '') -- the first write, and one that is never refused for lack of room
    cancel_held(KEYS[1], ARGV[3], one[3], one[4], ARGV[1], ARGV[2] == '1')
    return 1
  end
end
return 0
