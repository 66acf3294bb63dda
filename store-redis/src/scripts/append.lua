-- What the short way of `extend.lua` has left: groups whose streams are created, revived or replaced,
-- are not known to the caller, or were changed by others.

local COMPLETE, SESSION_DELETED, LIMIT_REACHED = 1, 2, 3
local NO_TAG = string.rep('\0', 6)

-- Open streams of the sessions that had to be counted. One call counts a session once, however many
-- streams it creates there, so that a session at its limit does not hold up the server.
local counted = {}

-- Counts them; also answers when the least recent of them was used.
local function count_open(p, session)
  local open, oldest = 0, now
  for _, key in ipairs(call('HVALS', p .. ':n:' .. session)) do
    local m = load(p, key)
    if m and m.complete == 0 and not is_expired(m) then
      open, oldest = open + 1, math.min(oldest, m.active)
    end
  end
  return open, oldest
end

-- Whether the session has as many open streams as it may have. Its own count, `held`, holds expired
-- streams too, so it is believed only below the limit, or while none can have expired: once it was
-- found to be right, until the least recent stream of that time may go.
local function is_full(p, session, held, right_since)
  if max_streams < 0 or held < max_streams then return false end
  if stream_ttl < 0 or (right_since and right_since + stream_ttl > now) then return true end
  if not counted[session] then
    local open, oldest = count_open(p, session)
    counted[session] = open
    if open == held then call('HSET', p .. ':x:' .. session, 'f', oldest) end
  end
  return counted[session] >= max_streams
end

-- Why no stream may be created in the session: SessionState::check_new_stream.
local function refusal(p, session)
  if session == '' then return nil end
  local state = call('HMGET', p .. ':x:' .. session, 'd', 'o', 'f')
  if state[1] and state[1] + tombstone_ttl > now then return SESSION_DELETED end
  if is_full(p, session, tonumber(state[2] or 0), state[3]) then return LIMIT_REACHED end
  -- A recount finds a session there before anything of it is booked.
  if not state[2] then call('ZADD', p .. ':z', 'NX', 0, session) end
  if state[1] then
    call('HDEL', p .. ':x:' .. session, 'd')
    call('ZREM', p .. ':k', session)
  end
  return nil
end

local function new_stream(session, name, key)
  return {key = key, session = session, name = name, owner = '', first = 1, last = 0, removed = 0,
    total = 0, oldest = NONE, newest = now, active = now, expired = NONE, lease = NONE, epoch = 0,
    guard = 0, booked_events = 0, booked_bytes = 0, complete = 0, tag = NO_TAG,
    removed_tag = NO_TAG, waits = false}
end

-- StreamMeta::push_lease for each lease of the group, all of the same moment.
local function take_leases(m, first, leases)
  if m.complete == 1 then
    m.lease, m.owner = NONE, ''
    return
  end
  for at = first, first + leases - 1 do
    local ttl, after = struct.unpack('>d', ARGV[at])
    local owner = string.sub(ARGV[at], after)
    if m.lease == NONE or m.owner == owner or m.lease <= now then
      m.owner, m.lease = owner, now + ttl
    end
  end
end

-- Appends the group's events to the Redis stream; false if that is lost.
local function push(p, m, group)
  local key, create = p .. ':e:' .. m.key, m.last + 1 == m.first
  m.newest, m.active = math.max(m.newest, now), math.max(m.active, now)
  if m.oldest == NONE then m.oldest = m.newest end
  for at = group.first, group.last, group.step do
    local event = ARGV[at]
    m.last = m.last + 1
    m.total = m.total + #event - EVENT_HEAD + EVENT_OVERHEAD
    m.tag = string.sub(event, 1, 6)
    local stamp = struct.pack('>dd', m.newest, m.total)
    local added
    if create then
      added = redis.pcall('XADD', key, id(m.last), 's', stamp, 'e', event)
    else
      added = redis.pcall('XADD', key, 'NOMKSTREAM', id(m.last), 's', stamp, 'e', event)
    end
    if not added then return false end
    if added.err then
      -- A stream that ends where it should was refused for another reason, such as a right that was
      -- taken away: nothing is missing.
      local newest = call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
      if newest and newest[1] == id(m.last - 1) then error(added.err) end
      return false
    end
  end
  return true
end

-- Appends a group in whatever state its stream is.
local function append(group, again)
  local p, session, name = group.bucket, group.session, group.name
  local names = p .. ':n:' .. session
  local key = call('HGET', names, name)
  local m = key and load(p, key)
  local forgotten = m and is_forgotten(m)
  if m and m.complete == 1 and not forgotten then return COMPLETE end
  local extends = m and not is_expired(m)
  if not extends then
    local refused = refusal(p, session)
    if refused then return refused end
  end
  if key and not m then lose(p, session, name, key) end
  if forgotten then drop(p, m) end
  local creates = not m or forgotten
  if creates then
    m = new_stream(session, name, group.candidate)
    call('HSET', names, name, m.key)
    place(p, m, 'i')
  end
  local grows = extends and m.last >= m.first and group.completes == 0
  local before = not grows and sums(m)
  if creates then
    before.open = 0
  elseif not extends then
    remove_all(p, m)
    m.expired, m.lease, m.owner = NONE, NONE, ''
    -- The events may get a new key, which has no expiry yet.
    if guard_ttl > 0 then m.guard = 0 end
  end
  local total = m.total
  if not push(p, m, group) then
    if again then error('a new stream cannot be appended to') end
    lose(p, session, name, m.key)
    return append(group, true)
  end
  m.complete = group.completes
  if not extends and m.complete == 0 and counted[session] then
    counted[session] = counted[session] + 1
  end
  take_leases(m, group.last + 1, group.leases)
  local ttl = due_guard(m)
  if grows then
    settle_growth(p, m, m.total - total)
  else
    settle(p, m, before, creates and ttl)
  end
  if not creates then guard(p, m, ttl) elseif ttl then guard_rest(p, m, ttl) end
  return m.key .. m.head .. m.owner
end

for _, group in ipairs(left) do
  local answer = append(group)
  answers[group.place] = answer
  if type(answer) == 'string' then stored = true end
end
if stored then wake(ARGV[5]) end
return answers
