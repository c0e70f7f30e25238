-- Keeps a batch, and lets it be driven: a new one, or an ended one that goes on.
-- ARGV[1] batch id
-- ARGV[2] tag of its tenant; "" without one
-- ARGV[3] nonce of the call
-- ARGV[4] "new" where it must have no record, "again" where it must have ended, "ended" to keep one
--   that has ended
-- ARGV[5], ARGV[6] definition and progress (JSON)
-- ARGV[7] when it was made, ms
-- ARGV[8] how long it is kept, s
-- ARGV[9] how many may be open
-- Returns 1, also to the same call once more; 0 where that must not be; -1 where too many are open.
-- uses: BATCH, BATCHES, BATCHES_OPEN, clock, keep_until, whole
local id, tag, nonce, how = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local definition, progress, made = ARGV[5], ARGV[6], ARGV[7]
local kept_ms, most = ARGV[8] * 1000, tonumber(ARGV[9])
local record, index, now = BATCH .. id, BATCHES .. tag, clock()

if redis.call('HGET', record, 'nonce') == nonce then return 1 end
local is_there = redis.call('EXISTS', record) == 1
local is_open = redis.call('ZSCORE', BATCHES_OPEN, id)
if is_there == (how ~= 'again') or is_open and is_there then return 0 end
if how ~= 'ended' and redis.call('ZCARD', BATCHES_OPEN) >= most then return -1 end

redis.call('HDEL', record, 'cancelling_at')
redis.call('HSET', record, 'nonce', nonce, 'definition', definition, 'progress', progress)
redis.call('ZADD', index, made, id)
redis.call('ZREMRANGEBYSCORE', index, '-inf', whole(now - kept_ms))
if how ~= 'ended' then redis.call('ZADD', BATCHES_OPEN, whole(now), id) end
for _, key in ipairs({record, index, BATCHES_OPEN}) do
  if redis.call('EXISTS', key) == 1 then keep_until(key, now + kept_ms, now) end
end
return 1
