-- Which commands this user may not run on this app's keys. Redis 7 and later.
-- KEYS  1 root
-- ARGV  commands, a subcommand after a bar: script|load
-- Returns {those that are refused, as they were given …}
-- Cost: O(commands). Writes nothing, and runs none of them.
local key, refused = KEYS[1] .. 'doctor', {}
for _, name in ipairs(ARGV) do
  local command, part = string.match(name, '^([^|]+)|?(.*)$')
  -- what follows stands where the commands' keys may stand
  local allowed
  if part ~= '' then
    allowed = redis.acl_check_cmd(command, part, key)
  elseif command == 'evalsha' or command == 'eval' then
    allowed = redis.acl_check_cmd(command, 'sha', '1', key)
  else
    allowed = redis.acl_check_cmd(command, key, key, key)
  end
  if not allowed then refused[#refused + 1] = name end
end
return refused
