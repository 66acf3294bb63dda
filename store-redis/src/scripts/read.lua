-- Reads a page of a stream.
--
-- ARGV[2]  stream key   ARGV[3] after   ARGV[4] max events   ARGV[5] max bytes
-- Answer   nil if there is no such stream; 0 if a part of it is missing; else now, metadata, tag of
--          the event after which the page starts ('' if that is not kept), first seq, then the
--          two fields of each event

local p, key = KEYS[1], ARGV[2]
local after, max_events, max_bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local m = load_current(p, key)
if not m then return nil end

local events = p .. ':e:' .. key

local function range(first, last) return call('XRANGE', events, id(first), id(last)) end

-- The running bytes of one event; nil if it is missing.
local function running(seq)
  local found = range(seq, seq)[1]
  if not found then return nil end
  local _, bytes = struct.unpack('>dd', found[2][2])
  return bytes
end

-- The last event, from `low` to `high`, up to which there are at most `limit` running bytes. Sizes
-- are known only by reading events, so a few are read to find it, not all.
local function last_within(low, high, limit)
  while low < high do
    local middle = math.ceil((low + high) / 2)
    local bytes = running(middle)
    if not bytes then return nil end
    if bytes <= limit then low = middle else high = middle - 1 end
  end
  return low
end

local kept = m.last + 1 - m.first
local first = math.max(after + 1, m.first)
local last = math.min(m.last, first + max_events - 1)
if kept > 0 and call('EXISTS', events) == 0 then return 0 end

local tag, bytes_before = '', m.removed
if after == m.last and kept > 0 then
  tag = m.tag
elseif after >= m.first and after < m.last then
  local anchor = range(after, after)[1]
  if not anchor then return 0 end
  local _
  _, bytes_before = struct.unpack('>dd', anchor[2][2])
  tag = string.sub(anchor[2][4], 1, 6)
end

local answer = {now, m.text, tag, first}
if first > last then return answer end
if last > first and m.total - bytes_before > max_bytes then
  last = last_within(first, last, bytes_before + max_bytes)
  if not last then return 0 end
end
local page = range(first, last)
if #page ~= last - first + 1 or page[1][1] ~= id(first) then return 0 end
for _, event in ipairs(page) do
  answer[#answer + 1] = event[2][2]
  answer[#answer + 1] = event[2][4]
end
return answer
