-- Finds open fan-outs that nobody has gone on with.
-- ARGV[1] for how long nobody has, ms
-- Returns their names.
-- uses: FAN_OUTS, clock, whole
local idle_ms = ARGV[1]

return redis.call('ZRANGEBYSCORE', FAN_OUTS, '-inf', whole(clock() - idle_ms))
