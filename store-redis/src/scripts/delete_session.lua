-- Deletes a session: its record and all its streams go at once, and a mark stays.
--
-- ARGV[2]  wake-up channel   ARGV[3] this instance   ARGV[4] session   ARGV[5] streams to take
--          apart in this step
-- Answer   1 if there was a record, streams that were no tombstones, events, bytes, name of what is
--          left to take apart or ''

local p, session, limit = KEYS[1], ARGV[4], tonumber(ARGV[5])
local state, names = p .. ':x:' .. session, p .. ':n:' .. session
local had_record = call('HEXISTS', state, 'r')
call('DEL', state)
call('ZREM', p .. ':r', session)
call('ZREM', p .. ':z', session)
call('HSET', state, 'd', now)
guard_key(state)
call('ZADD', p .. ':k', now, session)
wake('')
if call('EXISTS', names) == 0 then return {had_record, 0, 0, 0, ''} end
local grave = p .. ':y:' .. clock[1] .. '.' .. clock[2] .. ':' .. session
call('RENAME', names, grave)
call('SADD', p .. ':y', grave)
local streams, events, bytes = bury(p, grave, limit)
local left = call('EXISTS', grave) == 1 and grave or ''
return {had_record, streams, events, bytes, left}
