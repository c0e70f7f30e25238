-- Note that a worker reaches Redis now, and tell for how long some worker always did.
-- ARGV[1] the longest gap that does not break it, ms
-- Returns ms since the last longer gap. A gap is a Redis that could not be reached, no worker at all,
-- or a clock that was set: after it, leases that look run out may only have had no chance.
local now = clock()
local seen = redis.call('HMGET', REDIS_UP_SINCE, 'last', 'since')
local since = tonumber(seen[2] or now)
if not seen[1] or math.abs(now - tonumber(seen[1])) > tonumber(ARGV[1]) then since = now end
redis.call('HSET', REDIS_UP_SINCE, 'last', whole(now), 'since', whole(since))
redis.call('EXPIRE', REDIS_UP_SINCE, 3600)
return now - since
