-- Commits groups of events: the short way, before `append.lua`.
--
-- Most appends just add to an open stream that the same instance appended to last. It sends what the
-- stream is, as it knows it, and what it will be: if it is so, nothing has to be worked out here.
--
-- ARGV[2]  wake-up channel
-- ARGV[3]  this instance
-- ARGV[4]  '>dd' the times from which and until which the short way is right for all groups: no
--          stream of theirs was used later, or expires, or is due for its guard
-- ARGV[5]  the groups' names, for `wake`. All are woken if any was stored: it costs those of others a
--          look, and groups are seldom refused.
-- ARGV[6…] for each group '>HHHBB' bucket (an index of KEYS), events, leases, completes the stream
--          (0 or 1), is known (0 or 1); session; name; candidate key. If it is known: key, metadata;
--          then the metadata that it gets, without its two times, up to its lease or, if it is
--          complete, whole; ttl of its lease, or '' if that stays. Then its events, each as its field
--          `e`; before it, if the stream is known, its ID and running bytes. Then its leases: '>d' ttl,
--          owner
-- Answer   '>d' the time: all groups were stored as the caller knew them; or it and then for each
--          group 0: stored so; or key, HEAD and owner; or a number: why it was refused

local from, until_ = struct.unpack('>dd', ARGV[4])
local in_time = from <= now and now < until_
local stamp = struct.pack('>d', now)
local times = stamp .. stamp

-- When a lease of `ttl` ends, packed. Those of one batch are mostly alike.
local ends = {[''] = ''}
local function lease_end(ttl)
  local packed = ends[ttl]
  if not packed then
    packed = struct.pack('>d', now + ttl)
    ends[ttl] = packed
  end
  return packed
end

-- Stores the group that begins at ARGV[at], if its stream is as the caller knows it.
local function extend(p, at, events, completes)
  local session, key = ARGV[at + 1], ARGV[at + 4]
  local row, stream = p .. ':m:' .. key, p .. ':e:' .. key
  if call('GET', row) ~= ARGV[at + 5] then return false end
  if call('HGET', p .. ':n:' .. session, ARGV[at + 2]) ~= key then return false end
  for i = at + 8, at + 5 + 3 * events, 3 do
    local added = redis.pcall('XADD', stream, 'NOMKSTREAM', ARGV[i],
      's', stamp .. ARGV[i + 1], 'e', ARGV[i + 2])
    if not added or added.err then
      -- The long way finds out what is missing.
      if i == at + 8 then return false end
      error('a stream was lost between two events')
    end
  end
  if completes == 0 then
    call('SETRANGE', row, 0, times .. ARGV[at + 6] .. lease_end(ARGV[at + 7]))
    return true
  end
  call('SET', row, times .. ARGV[at + 6], 'KEEPTTL')
  call('ZREM', p .. ':i', key)
  call('ZADD', p .. ':c', now, key)
  if session ~= '' then call('HINCRBY', p .. ':x:' .. session, 'o', -1) end
  return true
end

local answers, left, stored, at = {stamp}, {}, false, 6
while ARGV[at] do
  local bucket, events, leases, completes, known = struct.unpack('>HHHBB', ARGV[at])
  local p, place, step = KEYS[bucket], #answers + 1, 1 + 2 * known
  local first = at + 4 + 4 * known
  local last = first + step * events - 1
  if known == 1 and in_time and extend(p, at, events, completes) then
    answers[place], stored = 0, true
  else
    answers[place] = false
    left[#left + 1] = {place = place, bucket = p, session = ARGV[at + 1], name = ARGV[at + 2],
      candidate = ARGV[at + 3], completes = completes, first = first + step - 1, last = last,
      step = step, leases = leases}
  end
  at = last + leases + 1
end
if #left == 0 then
  wake(ARGV[5])
  return stamp
end
