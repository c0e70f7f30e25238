-- Notes that a worker reaches Redis now, and tells for how long some worker always did.
-- ARGV[1] the longest gap that does not break it, ms
-- Returns ms since the last longer gap. A gap is a Redis that could not be reached, no worker at
-- all, or a clock that was set: after it, leases that look run out may only have had no chance.
-- uses: REDIS_UP_SINCE, clock, read, whole
local longest_gap_ms = tonumber(ARGV[1])
local now = clock()

local seen = read(REDIS_UP_SINCE, 'last', 'since')
local since = tonumber(seen.since or now)
if not seen.last or math.abs(now - seen.last) > longest_gap_ms then since = now end
redis.call('HSET', REDIS_UP_SINCE, 'last', whole(now), 'since', whole(since))
redis.call('EXPIRE', REDIS_UP_SINCE, 3600)
return now - since
