-- Takes away a stream of which a read found a part missing, if that is still so.
--
-- ARGV[2]  stream key

local p, key = KEYS[1], ARGV[2]
local m = load(p, key)
if not m then return 0 end
local kept = m.last + 1 - m.first
if kept > 0 then
  local newest = call('XREVRANGE', p .. ':e:' .. key, id(m.last), id(m.first), 'COUNT', 1)[1]
  local oldest = call('XRANGE', p .. ':e:' .. key, id(m.first), id(m.last), 'COUNT', 1)[1]
  local whole = oldest and oldest[1] == id(m.first) and newest[1] == id(m.last)
    and call('XLEN', p .. ':e:' .. key) >= kept
  if whole then return 0 end
end
lose(p, m.session, m.name, key)
return 1
