-- Goes before the scripts that take deleted sessions apart.
--
-- A deleted session's name map is renamed, which ends all its streams at once, and then taken
-- apart in steps.

-- Takes apart up to `limit` streams of a renamed name map. Answers streams that were no tombstones,
-- events, bytes, and how many streams were looked at. Any streams will do: a scan that begins anew
-- each time would meet only what earlier steps have emptied.
local function bury(p, grave, limit)
  local streams, events, bytes = 0, 0, 0
  local part = call('HRANDFIELD', grave, limit, 'WITHVALUES')
  for at = 1, #part, 2 do
    local m = load(p, part[at + 1])
    if m then
      local before = sums(m)
      take_out(p, m)
      local all = before.bytes + own_bytes(m)
      book(p, '', -m.booked_events, -m.booked_bytes)
      if before.state ~= 'd' then streams = streams + 1 end
      events, bytes = events + before.events, bytes + all
    else
      lose(p, nil, nil, part[at + 1])
    end
    call('HDEL', grave, part[at])
  end
  if call('EXISTS', grave) == 0 then call('SREM', p .. ':y', grave) end
  return streams, events, bytes, #part / 2
end
