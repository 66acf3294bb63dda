-- The time.
--
-- Answer   milliseconds since the Unix epoch, with the clock's offset

return now
