-- The metadata of streams.
--
-- ARGV[2…] '>Hc16' bucket (an index of KEYS) and key
-- Answer   for each its metadata, or nil

local out = {}
for at = 2, #ARGV do
  local bucket, key = struct.unpack('>Hc16', ARGV[at])
  local m = load_current(KEYS[bucket], key)
  out[at - 1] = m and m.text or false
end
return out
