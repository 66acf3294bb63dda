-- Looks up a stream by its name.
--
-- ARGV[2]  session   ARGV[3] name
-- Answer   nil if there is none, else now, key, metadata

local key = call('HGET', KEYS[1] .. ':n:' .. ARGV[2], ARGV[3])
local m = key and load(KEYS[1], key)
if not m then return nil end
return {now, key, m.text}
