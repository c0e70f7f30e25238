-- Notes how far a batch is, for the driver that holds it, and renews, gives back or ends its lease.
-- ARGV[1] batch id
-- ARGV[2] fencing token
-- ARGV[3] progress (JSON)
-- ARGV[4] lease from now, ms; 0 = anybody may have it; -1 = it has ended
-- ARGV[5] how long it is kept, s
-- Returns {1, when it was cancelled or ""}; {0} where another driver has it; {-1} where it has no
-- record.
-- uses: BATCH, BATCHES_OPEN, clock, keep_until, whole
local id, token, progress, lease = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local kept_ms, now = ARGV[5] * 1000, clock()
local record = BATCH .. id

local current, cancelling = unpack(redis.call('HMGET', record, 'token', 'cancelling_at'))
if not current then return {-1} end
if current ~= token then return {0} end
redis.call('HSET', record, 'progress', progress)
keep_until(record, now + kept_ms, now)
if lease < 0 then
  redis.call('ZREM', BATCHES_OPEN, id)
else
  redis.call('ZADD', BATCHES_OPEN, whole(now + lease), id)
  keep_until(BATCHES_OPEN, now + kept_ms, now)
end
return {1, cancelling or ''}
