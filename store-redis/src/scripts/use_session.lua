-- A session's record, renewed.
--
-- ARGV[2]  session
-- Answer   the record, or nil

local state = KEYS[1] .. ':x:' .. ARGV[2]
local found = call('HMGET', state, 'r', 'u')
if not found[1] then return nil end
local used = tonumber(found[2])
if session_ttl >= 0 and used + session_ttl <= now then return nil end
call('HSET', state, 'u', math.max(used, now))
guard_key(state)
return found[1]
