-- Gives a driver the batch that has waited longest, under a lease.
-- ARGV[1] nonce of the call
-- ARGV[2] lease, ms
-- ARGV[3] 1 for cancelled batches alone
-- Returns {id, fencing token, definition, progress, when it was cancelled or ""}; {} where none
-- waits. The same call once more gets the same batch.
-- uses: BATCH, BATCHES_OPEN, clock, whole
local nonce, lease, is_cancelled = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local now = clock()

local function claimed(id)
  local token, definition, progress, cancelling =
    unpack(redis.call('HMGET', BATCH .. id, 'token', 'definition', 'progress', 'cancelling_at'))
  return {id, token, definition, progress, cancelling or ''}
end

local held = redis.call('ZRANGEBYSCORE', BATCHES_OPEN, '(' .. whole(now), '+inf')
for _, id in ipairs(held) do
  if redis.call('HGET', BATCH .. id, 'claimed_by') == nonce then return claimed(id) end
end
local waiting = redis.call('ZRANGEBYSCORE', BATCHES_OPEN, '-inf', whole(now))
for _, id in ipairs(waiting) do
  local record = BATCH .. id
  local token, cancelling = unpack(redis.call('HMGET', record, 'token', 'cancelling_at'))
  if redis.call('EXISTS', record) == 0 then
    redis.call('ZREM', BATCHES_OPEN, id)
  elseif cancelling or not is_cancelled then
    -- By the clock, so that it rises also where Redis has lost the record.
    local fresh = math.max(tonumber(token or 0) + 1, now)
    redis.call('HSET', record, 'token', whole(fresh), 'claimed_by', nonce)
    redis.call('ZADD', BATCHES_OPEN, whole(now + lease), id)
    return claimed(id)
  end
end
return {}
