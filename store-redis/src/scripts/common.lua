-- Goes before every script: the names of keys, and a stream's metadata.
--
-- KEYS     one gate for each bucket that the script works on, `<prefix>{<bucket>}`. No key of that
--          name ever exists. While its slot is being moved, a Redis Cluster node that owns the slot
--          answers ASK for a key that it does not have, before the script runs: so no script ever
--          sees half of a bucket.
-- ARGV[1]  the terms: '>ddddddd' offset of the clock, stream_ttl, completed_stream_ttl,
--          tombstone_ttl, session_ttl, max_streams_per_session, guard (native expiry, a safety
--          net); milliseconds, -1 where a limit is off.
--
-- A bucket's keys, after its gate `p`:
--   :m:<key>      string  a stream's metadata, packed as HEAD says, then session, name and owner
--   :e:<key>      stream  its events, `<seq>-0`; field `e`: '>dd' stored_at, running_bytes, then
--                         tag (6 bytes), flags (1: has a message, 2: has a retry), '>d' retry, message
--   :n:<session>  hash    stream name -> stream key; <session> is empty for session-less streams.
--                         A stream whose key does not stand here is no stream any more.
--   :x:<session>  hash    r record, u used at, d deleted at, b bytes, o open streams
--                         f when the least recent of them was used, as o was last found right
--   :t            hash    e events, b bytes, l there if something was lost and has to be recounted
--   :u            set     streams of which these sums, and their session's b, do not hold all yet:
--                         each knows what was booked of it
--   :i :c :d      sorted  incomplete streams by last use or an earlier time, complete ones by
--                         completion, tombstones by expiry
--   :a :l         sorted  streams by their oldest event's time; streams of LARGE bytes or more, by 0
--   :z :r :k      sorted  sessions by the power of two of their bytes; those with a record by last
--                         use or an earlier time; deletion marks by time
--   :g :y         set     streams with events to free; names of name maps whose session was deleted
--
-- Every number is a double: exact up to 2^53.

local HEAD = '>dddddddddddddBc6c6HH'
local NONE = -1152921504606846976 -- -2^60: a time that is not there
local LARGE = 65536
local EVENT_OVERHEAD, STREAM_OVERHEAD = 64, 256
local STAMP, EVENT_HEAD = 16, 15

local call = redis.call
local offset, stream_ttl, completed_ttl, tombstone_ttl, session_ttl, max_streams, guard_ttl =
  struct.unpack('>ddddddd', ARGV[1])

local clock = call('TIME')
local server_now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local now = server_now + offset

local function load(p, key)
  local text = call('GET', p .. ':m:' .. key)
  if not text then return nil end
  local first, last, removed, total, oldest, newest, active, expired, lease, epoch, guard,
    booked_events, booked_bytes, complete, tag, removed_tag, session, name, at =
    struct.unpack(HEAD, text)
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
  local text = struct.pack(HEAD, m.first, m.last, m.removed, m.total, m.oldest, m.newest, m.active,
    m.expired, m.lease, m.epoch, m.guard, m.booked_events, m.booked_bytes, m.complete, m.tag,
    m.removed_tag, #m.session, #m.name)
  if ttl then
    call('SET', p .. ':m:' .. m.key, text .. m.session .. m.name .. m.owner, 'PX', ttl)
  elseif m.owner == m.stored_owner then
    call('SETRANGE', p .. ':m:' .. m.key, 0, text)
  else
    call('SET', p .. ':m:' .. m.key, text .. m.session .. m.name .. m.owner, 'KEEPTTL')
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
