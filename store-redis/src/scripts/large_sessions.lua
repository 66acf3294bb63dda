-- Sessions whose streams hold many bytes.
--
-- KEYS     any number of buckets
-- ARGV[2]  bytes
-- Answer   session, bytes, session, bytes …

local min, out = tonumber(ARGV[2]), {}
local _, exponent = math.frexp(min)
for _, p in ipairs(KEYS) do
  for _, session in ipairs(call('ZRANGEBYSCORE', p .. ':z', exponent, '+inf')) do
    local bytes = tonumber(call('HGET', p .. ':x:' .. session, 'b') or 0)
    if bytes >= min then
      out[#out + 1] = session
      out[#out + 1] = bytes
    end
  end
end
return out
