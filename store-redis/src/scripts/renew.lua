-- Extends or takes a lease: StreamMeta::plan_renew.
--
-- ARGV[2]  session   ARGV[3] name   ARGV[4] owner   ARGV[5] ttl
-- Answer   -1 held, -2 complete, -3 gone, else for how many milliseconds another holds it

local p, owner, ttl = KEYS[1], ARGV[4], tonumber(ARGV[5])
local key = call('HGET', p .. ':n:' .. ARGV[2], ARGV[3])
local m = key and load(p, key)
if not m or is_expired(m) then return -3 end
if m.complete == 1 then return -2 end
if m.lease ~= NONE and m.owner ~= owner and m.lease > now then return m.lease - now end
m.owner, m.lease, m.active = owner, now + ttl, math.max(m.active, now)
local guard_for = due_guard(m)
save(p, m)
guard(p, m, guard_for)
return -1
