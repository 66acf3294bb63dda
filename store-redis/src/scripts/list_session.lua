-- Lists a session's streams.
--
-- ARGV[2]  session   ARGV[3] 1 for its tombstones, 0 for the others
-- Answer   '>dc16' time of expiry or last use, and key, of each, in no order

local p, tombstones, out = KEYS[1], ARGV[3] == '1', {}
for _, key in ipairs(call('HVALS', p .. ':n:' .. ARGV[2])) do
  local m = load(p, key)
  if m and (m.expired ~= NONE) == tombstones then
    out[#out + 1] = struct.pack('>dc16', tombstones and m.expired or m.active, key)
  end
end
return table.concat(out)
