-- Sums of buckets.
--
-- KEYS     any number of buckets
-- Answer   sessions with a record, streams, tombstones, events, bytes

local sessions, streams, tombstones, events, bytes = 0, 0, 0, 0, 0
for _, p in ipairs(KEYS) do
  local totals = call('HMGET', p .. ':t', 'e', 'b')
  sessions = sessions + call('ZCARD', p .. ':r')
  streams = streams + call('ZCARD', p .. ':i') + call('ZCARD', p .. ':c')
  tombstones = tombstones + call('ZCARD', p .. ':d')
  -- Below zero only between a loss and the recount that follows it.
  events = events + math.max(tonumber(totals[1] or 0), 0)
  bytes = bytes + math.max(tonumber(totals[2] or 0), 0)
end
return {sessions, streams, tombstones, events, bytes}
