-- Note that a worker reaches Redis now, and tell for how long some worker always did.
-- KEYS[1] contact (hash)   ARGV[1] the longest gap that does not break it, ms
-- Returns ms since the last longer gap. A gap is a Redis that could not be reached, no worker at all,
-- or a clock that was set: after it, leases that look run out may only have had no chance.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = redis.call('HMGET', KEYS[1], 'last', 'since')
local since = tonumber(seen[2] or now)
if not seen[1] or math.abs(now - tonumber(seen[1])) > tonumber(ARGV[1]) then since = now end
redis.call('HSET', KEYS[1], 'last', string.format('%.0f', now),
  'since', string.format('%.0f', since))
redis.call('EXPIRE', KEYS[1], 3600)
return now - since
