-- Stores or replaces a session's record.
--
-- ARGV[2]  session   ARGV[3] record
-- Answer   1, or 0 if the session was deleted

local p, session = KEYS[1], ARGV[2]
local state = p .. ':x:' .. session
local deleted = call('HGET', state, 'd')
if deleted and deleted + tombstone_ttl > now then return 0 end
if deleted then
  call('HDEL', state, 'd')
  call('ZREM', p .. ':k', session)
end
call('HSET', state, 'r', ARGV[3], 'u', now)
call('ZADD', p .. ':r', now, session)
guard_key(state)
return 1
