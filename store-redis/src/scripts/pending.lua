-- Which buckets have something to tidy.
--
-- KEYS     any number of buckets
-- ARGV[2]  g for events to free, deleted sessions and recounts; s for sessions to forget
-- Answer   their indices

local function garbage(p)
  return call('EXISTS', p .. ':g', p .. ':y') > 0 or call('HEXISTS', p .. ':t', 'l') == 1
end

local function sessions(p)
  if session_ttl >= 0 and call('ZCOUNT', p .. ':r', '-inf', now - session_ttl) > 0 then return true end
  return call('ZCOUNT', p .. ':k', '-inf', now - tombstone_ttl) > 0
end

local has_work, out = ARGV[2] == 'g' and garbage or sessions, {}
for at, p in ipairs(KEYS) do
  if has_work(p) then out[#out + 1] = at end
end
return out
