-- Goes before every script that writes: changes of streams, with what they count for.

local function state_of(m)
  if m.expired ~= NONE then return 'd' end
  return m.complete == 1 and 'c' or 'i'
end

-- What a stream counts for, and where it stands.
local function sums(m)
  local state = state_of(m)
  return {state = state, open = state == 'i' and 1 or 0, events = m.last + 1 - m.first,
    bytes = m.total - m.removed, oldest = m.oldest}
end

local function own_bytes(m) return #m.session + #m.name + STREAM_OVERHEAD end

local function level(bytes)
  local _, exponent = math.frexp(math.max(bytes, 0))
  return exponent
end

local function held_bytes(m) return m.total - m.removed + own_bytes(m) end

local function book_open(p, session, open)
  if open ~= 0 and session ~= '' then call('HINCRBY', p .. ':x:' .. session, 'o', open) end
end

-- Adds to the totals and to the session's.
local function book(p, session, events, bytes)
  if events ~= 0 then call('HINCRBY', p .. ':t', 'e', events) end
  if bytes ~= 0 then call('HINCRBY', p .. ':t', 'b', bytes) end
  if bytes ~= 0 and session ~= '' then
    local after = call('HINCRBY', p .. ':x:' .. session, 'b', bytes)
    if level(after) ~= level(after - bytes) then
      call('ZADD', p .. ':z', level(after), session)
    end
  end
end

local function place(p, m, state)
  local score = m.active
  if state == 'd' then score = m.expired end
  call('ZADD', p .. ':' .. state, score, m.key)
end

local function place_by_age(p, m)
  if m.oldest == NONE then
    call('ZREM', p .. ':a', m.key)
  else
    call('ZADD', p .. ':a', m.oldest, m.key)
  end
end

-- Leaves what the stream holds to be booked before anyone asks for a sum (`book.lua`): a few
-- events are booked as fast as one, and a short stream is booked once.
local function leave_to_book(p, m)
  local waits = m.booked_events ~= m.last + 1 - m.first or m.booked_bytes ~= held_bytes(m)
  if waits == m.waits then return end
  if waits then call('SADD', p .. ':u', m.key) else call('SREM', p .. ':u', m.key) end
  m.waits = waits
end

-- Says that all the stream holds is booked.
local function booked(p, m)
  m.booked_events, m.booked_bytes, m.waits = m.last + 1 - m.first, held_bytes(m), false
  save(p, m)
  call('SREM', p .. ':u', m.key)
end

-- Puts a stream that has changed since `before` where it belongs now, and saves it; with `ttl` if
-- it is new.
local function settle(p, m, before, ttl)
  local after = sums(m)
  if after.state ~= before.state then
    call('ZREM', p .. ':' .. before.state, m.key)
    place(p, m, after.state)
  end
  if after.oldest ~= before.oldest then place_by_age(p, m) end
  if (after.bytes >= LARGE) ~= (before.bytes >= LARGE) then
    if after.bytes >= LARGE then
      call('ZADD', p .. ':l', 0, m.key)
    else
      call('ZREM', p .. ':l', m.key)
    end
  end
  book_open(p, m.session, after.open - before.open)
  leave_to_book(p, m)
  save(p, m, ttl)
end

-- The same for a stream that only got more events, of `bytes`: most appends. Its place in every
-- index but that of large streams stays.
local function settle_growth(p, m, bytes)
  local kept = m.total - m.removed
  if kept >= LARGE and kept - bytes < LARGE then call('ZADD', p .. ':l', 0, m.key) end
  leave_to_book(p, m)
  save(p, m)
end

-- Lets a session go that holds nothing any more.
local function forget_if_empty(p, session)
  if session == '' or call('EXISTS', p .. ':n:' .. session) == 1 then return end
  local kept = call('HMGET', p .. ':x:' .. session, 'r', 'd')
  if kept[1] or kept[2] then return end
  call('DEL', p .. ':x:' .. session)
  call('ZREM', p .. ':z', session)
end

-- Takes a stream out of everything but its name map; its events wait to be freed.
local function take_out(p, m)
  call('DEL', p .. ':m:' .. m.key)
  call('ZREM', p .. ':' .. state_of(m), m.key)
  if m.oldest ~= NONE then call('ZREM', p .. ':a', m.key) end
  if m.total - m.removed >= LARGE then call('ZREM', p .. ':l', m.key) end
  if m.waits then call('SREM', p .. ':u', m.key) end
  -- Also if all its events are freed: an empty key may be left.
  if call('EXISTS', p .. ':e:' .. m.key) == 1 then call('SADD', p .. ':g', m.key) end
end

-- Deletes a stream.
local function drop(p, m)
  call('HDEL', p .. ':n:' .. m.session, m.name)
  take_out(p, m)
  book_open(p, m.session, -sums(m).open)
  book(p, m.session, -m.booked_events, -m.booked_bytes)
  forget_if_empty(p, m.session)
end

-- Takes away what is left of a stream of which a part is missing: evicted, expired by the server,
-- or deleted by someone else. What it counted for may be unknown, so the bucket is to be recounted.
local function lose(p, session, name, key)
  if session and call('HGET', p .. ':n:' .. session, name) == key then
    call('HDEL', p .. ':n:' .. session, name)
  end
  call('DEL', p .. ':m:' .. key)
  call('UNLINK', p .. ':e:' .. key)
  for _, index in ipairs({'i', 'c', 'd', 'a', 'l'}) do call('ZREM', p .. ':' .. index, key) end
  call('SREM', p .. ':g', key)
  call('SREM', p .. ':u', key)
  call('HSET', p .. ':t', 'l', 1)
end

-- Events of a stream that are freed as it is removed: to note that they wait would take as long.
local FREED_WITH_STREAM = 64

-- StreamMeta::remove_all, and what goes with it. Answers how many events are freed; the others wait.
local function remove_all(p, m)
  local count, all = m.last + 1 - m.first, m.first == 1
  if count == 0 then return 0 end
  m.removed_tag, m.removed, m.first, m.oldest = m.tag, m.total, m.last + 1, NONE
  if all and count <= FREED_WITH_STREAM then
    return call('UNLINK', p .. ':e:' .. m.key) == 1 and count or 0
  end
  call('SADD', p .. ':g', m.key)
  return 0
end

-- Sets or takes back the server's own expiry, far beyond every lifetime here.
local function guard_key(key)
  if guard_ttl > 0 then call('PEXPIRE', key, guard_ttl) else call('PERSIST', key) end
end

-- The native expiry that a stream is due for, if any: it is renewed only now and then, so that most
-- appends do not pay for it. 0 takes it back. To be called before the stream is saved.
local function due_guard(m)
  if guard_ttl <= 0 then
    if m.guard == 0 then return nil end
    m.guard = 0
    return 0
  end
  local held_until = math.max(server_now, m.lease - offset)
  if held_until - m.guard < guard_ttl / 4 then return nil end
  m.guard = held_until
  return guard_ttl + held_until - server_now
end

-- Applies it to all but the metadata. To be called after the stream was saved.
local function guard_rest(p, m, ttl)
  for _, key in ipairs({':e:' .. m.key, ':n:' .. m.session, ':x:' .. m.session}) do
    if ttl > 0 then call('PEXPIRE', p .. key, ttl) else call('PERSIST', p .. key) end
  end
end

-- Applies it. To be called after the stream was saved. It also puts the stream back where a sweep
-- finds it, should that have been lost.
local function guard(p, m, ttl)
  if not ttl then return end
  place(p, m, state_of(m))
  place_by_age(p, m)
  if m.waits then call('SADD', p .. ':u', m.key) end
  local row = p .. ':m:' .. m.key
  if ttl > 0 then call('PEXPIRE', row, ttl) else call('PERSIST', row) end
  guard_rest(p, m, ttl)
end

local function wake_stream(m)
  wake(struct.pack('>HH', #m.session, #m.name) .. m.session .. m.name)
end
