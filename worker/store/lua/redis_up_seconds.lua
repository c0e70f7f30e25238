-- Notes that a worker reaches Redis now, and how far the time has come; tells for how long some
-- worker always reached this Redis.
-- ARGV[1] the longest gap that does not break it, ms
-- Returns ms since the last longer gap. A gap is a Redis that could not be reached or was started
-- again, no worker at all, or a clock that was set forward: after it, leases that look run out may
-- only have had no chance. A clock that was set back breaks nothing: time goes on from there.
-- uses: CLOCK, CLOCK_SECONDS, REDIS_UP_SINCE, UNACKED_INDEX, read, server_time, whole
local longest_gap_ms = tonumber(ARGV[1])
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''

local told, seen = server_time(), read(CLOCK, 'last', 'offset')
local last, offset = tonumber(seen.last or told), tonumber(seen.offset or 0)
local now = told + offset
local gap = now - last > longest_gap_ms
-- After a gap nobody can tell a clock that was set right again from a pause.
if now < last or gap then
  offset = math.max(0, last - told)
  now = told + offset
end
redis.call('ZREM', UNACKED_INDEX, '')  -- a first write that needs no memory, as in renew.lua
redis.call('HSET', CLOCK, 'last', whole(now), 'offset', whole(offset))
redis.call('EXPIRE', CLOCK, CLOCK_SECONDS)

local up = read(REDIS_UP_SINCE, 'since', 'run_id')
local since = tonumber(up.since or now)
if gap or up.run_id ~= run_id then since = now end
redis.call('HSET', REDIS_UP_SINCE, 'since', whole(since), 'run_id', run_id)
redis.call('EXPIRE', REDIS_UP_SINCE, 3600)
return now - since
