-- Claims background sweeping, or gives it back. It lasts by the server's own clock.
--
-- ARGV[2]  instance   ARGV[3] milliseconds, 0 to give it back
-- Answer   1 if the claim holds

local key, ttl = KEYS[1] .. ':w', tonumber(ARGV[3])
local owner = call('GET', key)
if owner and owner ~= ARGV[2] then return 0 end
if ttl > 0 then call('SET', key, ARGV[2], 'PX', ttl) else call('DEL', key) end
return 1
