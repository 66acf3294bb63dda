-- Frees removed events, takes deleted sessions apart, and recounts buckets that lost something.
--
-- KEYS     any number of buckets
-- ARGV[2]  how many events at most
-- Answer   how many events were freed, 1 if there is more

local left = tonumber(ARGV[2])
local freed, more = 0, 0
local STEP = 64

-- Counts a bucket anew: streams, and what its sessions hold.
local function recount(p)
  local events, bytes, sessions = 0, 0, {}
  for _, state in ipairs({'i', 'c', 'd'}) do
    for _, key in ipairs(call('ZRANGE', p .. ':' .. state, 0, -1)) do
      local m = load(p, key)
      if m then
        local counts = sums(m)
        local all = counts.bytes + own_bytes(m)
        events, bytes = events + counts.events, bytes + all
        if m.waits then booked(p, m) end
        if m.session ~= '' and is_current(p, m) then
          local held = sessions[m.session] or {0, 0}
          sessions[m.session] = {held[1] + all, held[2] + counts.open}
        end
      else
        for _, set in ipairs({state, 'a', 'l'}) do call('ZREM', p .. ':' .. set, key) end
      end
    end
  end
  for _, session in ipairs(call('ZRANGE', p .. ':z', 0, -1)) do
    if not sessions[session] then
      call('HDEL', p .. ':x:' .. session, 'b', 'o')
      call('ZREM', p .. ':z', session)
    end
  end
  for session, held in pairs(sessions) do
    call('HSET', p .. ':x:' .. session, 'b', held[1], 'o', held[2])
    call('ZADD', p .. ':z', level(held[1]), session)
  end
  for _, session in ipairs(call('ZRANGE', p .. ':r', 0, -1)) do
    if call('HEXISTS', p .. ':x:' .. session, 'r') == 0 then call('ZREM', p .. ':r', session) end
  end
  call('DEL', p .. ':t')
  if events > 0 then call('HSET', p .. ':t', 'e', events) end
  if bytes > 0 then call('HSET', p .. ':t', 'b', bytes) end
end

-- Frees events of one stream; true if none is left to free.
local function free(p, key)
  local events, m = p .. ':e:' .. key, load(p, key)
  if not m then
    freed = freed + call('XLEN', events)
    call('UNLINK', events)
    return true
  end
  local oldest = call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
  if not oldest then return true end
  local seq = tonumber(string.match(oldest[1], '^%d+'))
  local below = math.min(m.first, seq + left)
  if below > seq then freed = freed + call('XTRIM', events, 'MINID', id(below)) end
  return below == m.first or seq >= m.first
end

local function free_some(p)
  for _, key in ipairs(call('SRANDMEMBER', p .. ':g', STEP)) do
    local before = freed
    if free(p, key) then call('SREM', p .. ':g', key) end
    left = left - (freed - before)
    if left <= 0 then return end
  end
end

for _, p in ipairs(KEYS) do
  if call('HEXISTS', p .. ':t', 'l') == 1 then recount(p) end
  local buried = 0
  while buried < 1000 do
    local grave = call('SRANDMEMBER', p .. ':y')
    if not grave then break end
    local _, _, _, count = bury(p, grave, STEP)
    buried = buried + math.max(count, 1)
  end
  while left > 0 and call('SCARD', p .. ':g') > 0 do free_some(p) end
  if call('EXISTS', p .. ':g', p .. ':y') > 0 then more = 1 end
end
return {freed, more}
