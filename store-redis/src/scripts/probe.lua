-- Marks a store with its version, and answers the one that it has. Uses every command that the other
-- scripts use, so that a user who may not is told at once.
--
-- KEYS     the first bucket's gate
-- ARGV[2]  wake-up channel
-- ARGV[3]  the version of a store that begins here

local mark = KEYS[1] .. ':v'
local version = redis.pcall('GET', mark)
if type(version) == 'table' then
  -- Another program's key, or a lack of rights.
  return string.find(version.err, 'WRONGTYPE', 1, true) and '?' or version
end
if version and version ~= ARGV[3] then return version end
call('SET', mark, ARGV[3])

local p = KEYS[1] .. ':probe'
local value, hash, sorted, set, stream, moved =
  p .. ':v', p .. ':h', p .. ':s', p .. ':u', p .. ':e', p .. ':m'

call('SET', value, '1', 'PX', 60000)
call('SETRANGE', value, 0, '1')
call('GET', value)
call('PEXPIRE', value, 60000)
call('PERSIST', value)
call('HSET', hash, 'a', 1)
call('HINCRBY', hash, 'a', 1)
call('HGET', hash, 'a')
call('HMGET', hash, 'a', 'b')
call('HEXISTS', hash, 'a')
call('HVALS', hash)
call('HRANDFIELD', hash, 1, 'WITHVALUES')
call('RENAME', hash, moved)
call('HDEL', moved, 'a')
call('ZADD', sorted, 1, 'a')
call('ZCARD', sorted)
call('ZCOUNT', sorted, 0, 1)
call('ZRANGE', sorted, 0, -1)
call('ZRANGEBYSCORE', sorted, 0, 1)
call('ZREM', sorted, 'a')
call('SADD', set, 'a')
call('SCARD', set)
call('SRANDMEMBER', set)
call('SREM', set, 'a')
call('XADD', stream, '1-0', 'a', 'b')
call('XLEN', stream)
call('XRANGE', stream, '-', '+')
call('XREVRANGE', stream, '+', '-')
call('XTRIM', stream, 'MINID', '2-0')
call('PUBLISH', ARGV[2], '')
call('EXISTS', value)
call('DEL', value)
call('UNLINK', stream)
return ARGV[3]
