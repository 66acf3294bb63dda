-- Lists streams in the order of a sorted set, and puts what it meets out of place where it belongs.
--
-- KEYS     any number of buckets
-- ARGV[2]  the sorted sets, a letter each   ARGV[3] up to this score   ARGV[4] streams that hold as
--          many bytes or more   ARGV[5] how many of each set   ARGV[6] after this score, or ''
--          ARGV[7] and this key
-- Answer   for each bucket and set: 1 if there is more, and '>dc16' score and key of each stream

local sets, until_, min_bytes, count = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local from, from_key = ARGV[6], ARGV[7]
local PART = 64

-- Whether `key` comes after `other`, byte by byte; Lua itself would compare by locale.
local function comes_after(key, other)
  for at = 1, 13, 4 do
    local a, b = struct.unpack('>I4', key, at), struct.unpack('>I4', other, at)
    if a ~= b then return a > b end
  end
  return false
end

-- The stream if it stands where it belongs; whether it was moved or taken away.
local function look_at(p, set, key, score)
  local m = load(p, key)
  if not m then
    lose(p, nil, nil, key)
    return nil, true
  end
  if set == 'i' and score < m.active then
    call('ZADD', p .. ':i', m.active, key)
    return nil, true
  end
  if not is_current(p, m) then
    -- A deleted session's streams are taken apart elsewhere.
    if call('EXISTS', p .. ':y') == 1 then return nil, false end
    lose(p, nil, nil, key)
    return nil, true
  end
  return m, false
end

-- One pass over a set from its beginning; also says whether anything was moved.
local function pass(p, set)
  local out, found, at, moved_any = {}, 0, 0, false
  local min = from == '' and '-inf' or from
  while true do
    local part = call('ZRANGEBYSCORE', p .. ':' .. set, min, until_, 'WITHSCORES', 'LIMIT', at, PART)
    local moved = 0
    for n = 1, #part, 2 do
      local key, score = part[n], tonumber(part[n + 1])
      if from == '' or score > tonumber(from) or comes_after(key, from_key) then
        if found == count then return out, 1, moved_any end
        local m, gone = look_at(p, set, key, score)
        if gone then
          moved, moved_any = moved + 1, true
        elseif m and m.total - m.removed >= min_bytes then
          found = found + 1
          out[found] = struct.pack('>dc16', score, key)
        end
      end
    end
    if #part < 2 * PART then return out, 0, moved_any end
    at = at + PART - moved
  end
end

local answer = {}
for _, p in ipairs(KEYS) do
  for set in string.gmatch(sets, '.') do
    local out, more, moved = pass(p, set)
    -- What was moved may belong before what was listed after it.
    for _ = 1, 3 do
      if moved then out, more, moved = pass(p, set) end
    end
    answer[#answer + 1] = more
    answer[#answer + 1] = table.concat(out)
  end
end
return answer
