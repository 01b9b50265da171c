-- Flows ended, retried and forgotten. Needs: flow, place, bury, rank, cancelling.

-- A message with its counters begun anew, but the delivery, which fences.
local function revived(m)
  local flags = struct.unpack('>H', m, 3)
  flags = flags - bit.band(flags, ALONE + CANCELLED)
  return string.sub(m, 1, 2) .. struct.pack('>H', flags) .. string.sub(m, 5, 7) .. struct.pack('>BBI4', 0, 0, 1)
    .. string.sub(m, 14, 33) .. struct.pack('>I8', 0) .. string.sub(m, 42)
end

-- A failed or dropped node is ready once more, and its dead letter is taken out. Answers with the bytes of its message.
local function retried(root, now, entry, number, node)
  local letter, size = members().again(entry, number, node, now, revived)
  if letter ~= '' then unbury(root, letter) end
  return size
end

-- A piece of a flow that was ended: what waits in queues is dropped, what runs is marked (and its worker told to end it). Its nodes
-- are scanned from cu on; without one from the first. Adds the ids, as stored, of those that run; answers whether there is more.
local function sweep(root, now, entry, terminate, running)
  local cursor = redis.call('HGET', entry.key, 'cu') or '0'
  local found = redis.call('HSCAN', root .. 'fn:' .. entry.id, cursor, 'COUNT', CHUNK)
  for i = 1, #found[2], 2 do
    local number = found[2][i]
    local node = cmsgpack.unpack(found[2][i + 1])
    local id, queue, where = members().standing(node)
    local field, holder = string.match(where or '', '^@(%S+) (.*)$')
    if field then
      local value = redis.call('HGET', root .. 'h:' .. holder, field)
      if value and entry.ended == 'V' then
        cancel_held(root, holder, field, value, id, terminate)
        running[#running + 1] = id
      end
    elseif id then
      if where == '' then
        cancel_ready(root, now, queue, id)
      else
        local member = scheduled_at(root, queue, where)
        if member then redis.call('ZREM', root .. 's:' .. queue, member) end
      end
      records().finish_of(root, now, id, records().REVOKED, 'cancelled', '')
      entry.nodes[number] = node
      members().dropped(entry, number, node)
    end
  end
  if found[1] == '0' then
    redis.call('HDEL', entry.key, 'cu')
    redis.call('SREM', root .. 'fbusy', entry.id)
  else
    redis.call('HSET', entry.key, 'cu', found[1])
  end
  flows().go_on(entry, now)
  flows().save(entry)
  return found[1] ~= '0'
end

-- A piece of a flow that is no more: nobody sees it from the first piece on. Answers whether there is more: its members' dead letters.
local function forget_flow(root, id)
  redis.call('UNLINK', root .. 'f:' .. id, root .. 'fn:' .. id, root .. 'fm:' .. id, root .. 'fr:' .. id, root .. 'fx:' .. id, root .. 'fs:' .. id)
  redis.call('ZREM', root .. 'flows', id)
  redis.call('ZREM', root .. 'fopen', id)
  redis.call('SREM', root .. 'fbusy', id)
  local failed, bytes, gone = root .. 'fz:' .. id, 0, {}
  local found = redis.call('HSCAN', failed, '0', 'COUNT', PIECE)
  for i = 1, #found[2], 2 do
    if bytes < HEAVY then
      gone[#gone + 1] = found[2][i]
      if found[2][i + 1] ~= '' then bytes = bytes + unbury(root, found[2][i + 1]) end
    end
  end
  for i = 1, #gone, CHUNK do redis.call('HDEL', failed, unpack(gone, i, math.min(i + CHUNK - 1, #gone))) end
  if redis.call('EXISTS', failed) == 1 then
    redis.call('ZADD', root .. 'fends', 0, id) -- should the caller go no further, maintenance does
    return true
  end
  redis.call('ZREM', root .. 'fends', id)
  return false
end
