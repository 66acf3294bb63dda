-- Books what streams hold, so that the sums of their buckets and sessions are right.
--
-- KEYS     any number of buckets
-- ARGV[2]  how many streams at most
-- Answer   the indices of the buckets that have more

local left, more = tonumber(ARGV[2]), {}
for at, p in ipairs(KEYS) do
  local waiting = {}
  if left > 0 then waiting = call('SRANDMEMBER', p .. ':u', left) end
  for _, key in ipairs(waiting) do
    local m = load(p, key)
    if m then
      -- What a deleted session held went with it.
      local session = is_current(p, m) and m.session or ''
      book(p, session, m.last + 1 - m.first - m.booked_events, held_bytes(m) - m.booked_bytes)
      booked(p, m)
    else
      call('SREM', p .. ':u', key)
    end
  end
  left = left - #waiting
  if call('EXISTS', p .. ':u') == 1 then more[#more + 1] = at end
end
return more
