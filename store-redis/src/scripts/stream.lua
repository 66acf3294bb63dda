-- Goes before every script that looks at streams: their metadata.

-- newest, active, last, total, complete, tag, lease, first, removed, oldest, expired, epoch, guard,
-- booked events and bytes, removed tag, lengths of session and name. What each append changes comes
-- first (`extend.lua`).
local HEAD = '>ddddBc6dddddddddc6HH'
local LARGE = 65536
local EVENT_OVERHEAD, STREAM_OVERHEAD = 64, 256
local EVENT_HEAD = 15

local function load(p, key)
  local text = call('GET', p .. ':m:' .. key)
  if not text then return nil end
  local newest, active, last, total, complete, tag, lease, first, removed, oldest, expired, epoch,
    guard, booked_events, booked_bytes, removed_tag, session, name, at = struct.unpack(HEAD, text)
  local owner = string.sub(text, at + session + name)
  -- In one constructor, which makes room for all fields at once.
  return {key = key, text = text, first = first, last = last, removed = removed, total = total,
    oldest = oldest, newest = newest, active = active, expired = expired, lease = lease,
    epoch = epoch, guard = guard, booked_events = booked_events, booked_bytes = booked_bytes,
    complete = complete, tag = tag, removed_tag = removed_tag,
    session = string.sub(text, at, at + session - 1),
    name = string.sub(text, at + session, at + session + name - 1),
    owner = owner, stored_owner = owner,
    waits = booked_events ~= last + 1 - first
      or booked_bytes ~= total - removed + session + name + STREAM_OVERHEAD}
end

-- `ttl` is the server's own expiry of a new stream, if it has one.
local function save(p, m, ttl)
  local head = struct.pack(HEAD, m.newest, m.active, m.last, m.total, m.complete, m.tag, m.lease,
    m.first, m.removed, m.oldest, m.expired, m.epoch, m.guard, m.booked_events, m.booked_bytes,
    m.removed_tag, #m.session, #m.name)
  m.head = head
  if ttl then
    call('SET', p .. ':m:' .. m.key, head .. m.session .. m.name .. m.owner, 'PX', ttl)
  elseif m.owner == m.stored_owner then
    call('SETRANGE', p .. ':m:' .. m.key, 0, head)
  else
    call('SET', p .. ':m:' .. m.key, head .. m.session .. m.name .. m.owner, 'KEEPTTL')
    m.stored_owner = m.owner
  end
end

-- Whether the stream is still the one of its name.
local function is_current(p, m)
  return call('HGET', p .. ':n:' .. m.session, m.name) == m.key
end

-- Loads a stream by its key, unless it was deleted.
local function load_current(p, key)
  local m = load(p, key)
  if m and is_current(p, m) then return m end
  return nil
end

-- The ID of an event. Lua's own conversion loses digits above 10^14.
local function id(seq) return string.format('%.0f-0', seq) end

-- StreamMeta::expires_at; nil for never.
local function expires_at(m)
  if m.expired ~= NONE then return m.expired end
  if m.complete == 1 then
    if completed_ttl < 0 then return nil end
    return m.active + completed_ttl
  end
  if stream_ttl < 0 then return nil end
  return math.max(m.active + stream_ttl, m.lease)
end

local function is_expired(m)
  if m.expired ~= NONE then return true end
  local at = expires_at(m)
  return at ~= nil and at <= now
end

local function is_forgotten(m)
  local at = expires_at(m)
  return at ~= nil and at + tombstone_ttl <= now
end
