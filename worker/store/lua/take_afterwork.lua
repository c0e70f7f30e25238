-- Takes afterwork that is due. It stays and is due again later, in case that its worker dies.
-- ARGV[1] most entries
-- ARGV[2] when they are due again, ms from now
-- Returns {{task id, message or "", result, 1 if it was sent by name}, ...}. A call whose reply was
-- lost delays them. An entry whose result is gone is dropped.
-- uses: AFTERWORK, AFTERWORK_MESSAGES, JOB_RECORD, RESULT_META, clock, whole
local most, again_ms = ARGV[1], tonumber(ARGV[2])
local now, found = clock(), {}

for _, id in ipairs(
    redis.call('ZRANGEBYSCORE', AFTERWORK, '-inf', whole(now), 'LIMIT', 0, most)) do
  redis.call('ZREM', AFTERWORK, id)  -- a first write that needs no memory, as in renew.lua
  local result = redis.call('GET', RESULT_META .. id)
  if result then
    redis.call('ZADD', AFTERWORK, whole(now + again_ms), id)
    table.insert(found, {id, redis.call('HGET', AFTERWORK_MESSAGES, id) or '', result,
      redis.call('HEXISTS', JOB_RECORD .. id, 'by_name')})
  else
    redis.call('HDEL', AFTERWORK_MESSAGES, id)
  end
end
return found
