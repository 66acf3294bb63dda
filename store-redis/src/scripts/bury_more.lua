-- Takes apart more of a deleted session.
--
-- ARGV[2]  name of what is left   ARGV[3] streams to take apart in this step
-- Answer   streams that were no tombstones, events, bytes, 1 if there is more

local streams, events, bytes = bury(KEYS[1], ARGV[2], tonumber(ARGV[3]))
return {streams, events, bytes, call('EXISTS', ARGV[2])}
