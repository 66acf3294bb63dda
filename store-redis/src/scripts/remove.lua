-- Removes what still is as the sweep saw it.
--
-- ARGV[2…] '>HBc16ddd' bucket (an index of KEYS), what (0 a prefix, 1 the whole stream, 2 the
--          tombstone), key, through or expired at, last seq and last use as the sweep saw them
-- Answer   for each how many events it took, or -1 if it did not apply; then how many are freed

local freed = 0

local function prefix(p, m, through)
  if through < m.first or through > m.last then return -1 end
  local found = call('XRANGE', p .. ':e:' .. m.key, id(through), id(through + 1))
  local stays = through < m.last
  if not found[1] or found[1][1] ~= id(through) or (stays and not found[2]) then
    lose(p, m.session, m.name, m.key)
    return -1
  end
  local before, fields = sums(m), found[1][2]
  local taken = through + 1 - m.first
  local _
  _, m.removed = struct.unpack('>dd', fields[2])
  m.removed_tag = string.sub(fields[4], 1, 6)
  m.first, m.oldest = through + 1, NONE
  if stays then m.oldest = struct.unpack('>d', found[2][2][2]) end
  call('SADD', p .. ':g', m.key)
  settle(p, m, before)
  return taken
end

local function remove(p, what, key, at, last, active)
  local m = load_current(p, key)
  if not m then return -1 end
  if what == 0 then return prefix(p, m, at) end
  if m.last ~= last or m.active ~= active then return -1 end
  local before = sums(m)
  if what == 2 then
    drop(p, m)
    return before.events
  end
  if m.expired ~= NONE then return -1 end
  freed = freed + remove_all(p, m)
  m.expired = at
  settle(p, m, before)
  return before.events
end

local answer = {}
for n = 2, #ARGV do
  local bucket, what, key, at, last, active = struct.unpack('>HBc16ddd', ARGV[n])
  answer[n - 1] = remove(KEYS[bucket], what, key, at, last, active)
end
answer[#answer + 1] = freed
return answer
