-- Goes before every script: the names of keys, and the time.
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
--   :e:<key>      stream  its events, `<seq>-0`; field `s`: '>dd' stored_at, running_bytes; field `e`:
--                         tag (6 bytes), flags (1: has a message, 2: has a retry), '>d' retry,
--                         message. Lua hashes each byte of each text that it makes or is given, so
--                         a message is given whole, and never joined to anything.
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
--   :v            string  in the first bucket: the version of all this
--
-- Every number is a double: exact up to 2^53.

local NONE = -1152921504606846976 -- -2^60: a time that is not there

local call = redis.call
local offset, stream_ttl, completed_ttl, tombstone_ttl, session_ttl, max_streams, guard_ttl =
  struct.unpack('>ddddddd', ARGV[1])

local clock = call('TIME')
local server_now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local now = server_now + offset

-- Tells followers on other instances. A poll stands behind it, so nothing hangs on its success.
-- ARGV[2] is the channel and ARGV[3] this instance; `names` are '>HH' lengths, session, name, or
-- nothing for any stream.
local function wake(names) redis.pcall('PUBLISH', ARGV[2], ARGV[3] .. names) end
