-- Forgets expired records and overdue deletion marks, and sessions that hold nothing else.
--
-- KEYS     any number of buckets
-- ARGV[2]  how many at most
-- Answer   how many

local forgotten, limit = 0, tonumber(ARGV[2])

local function forget_records(p)
  while forgotten < limit do
    local found = call('ZRANGEBYSCORE', p .. ':r', '-inf', now - session_ttl, 'LIMIT', 0, 64)
    if #found == 0 then return end
    for _, session in ipairs(found) do
      local state = p .. ':x:' .. session
      local record = call('HMGET', state, 'r', 'u')
      local used = tonumber(record[2] or 0)
      if record[1] and used + session_ttl > now then
        call('ZADD', p .. ':r', used, session)
      else
        call('HDEL', state, 'r', 'u')
        call('ZREM', p .. ':r', session)
        forget_if_empty(p, session)
        forgotten = forgotten + 1
      end
    end
  end
end

local function forget_marks(p)
  while forgotten < limit do
    local found = call('ZRANGEBYSCORE', p .. ':k', '-inf', now - tombstone_ttl, 'LIMIT', 0, 64)
    if #found == 0 then return end
    for _, session in ipairs(found) do
      call('HDEL', p .. ':x:' .. session, 'd')
      call('ZREM', p .. ':k', session)
      forget_if_empty(p, session)
      forgotten = forgotten + 1
    end
  end
end

for _, p in ipairs(KEYS) do
  if session_ttl >= 0 then forget_records(p) end
  forget_marks(p)
end
return forgotten
