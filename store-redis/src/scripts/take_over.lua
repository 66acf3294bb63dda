-- Raises a stream's reader epoch.
--
-- ARGV[2]  wake-up channel   ARGV[3] this instance   ARGV[4] stream key
-- Answer   the new epoch, or nil if there is no such stream

local m = load_current(KEYS[1], ARGV[4])
if not m then return nil end
m.epoch = m.epoch + 1
save(KEYS[1], m)
wake_stream(m)
return m.epoch
