-- Deletes a stream.
--
-- ARGV[2]  wake-up channel   ARGV[3] this instance   ARGV[4] session   ARGV[5] name
-- Answer   streams that were no tombstones, events, bytes

local p, session, name = KEYS[1], ARGV[4], ARGV[5]
local key = call('HGET', p .. ':n:' .. session, name)
if not key then return {0, 0, 0} end
local m = load(p, key)
if not m then
  lose(p, session, name, key)
  return {0, 0, 0}
end
local before = sums(m)
drop(p, m)
wake_stream(m)
return {before.state == 'd' and 0 or 1, before.events, before.bytes + own_bytes(m)}
