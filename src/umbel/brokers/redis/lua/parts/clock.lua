-- The server's clock in whole milliseconds. It decides everything; no client's clock is ever compared with it.
local function server_now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
