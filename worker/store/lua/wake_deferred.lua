-- Move deferred messages whose time has come to the head of their own queues, up to a limit.
-- ARGV[1] most to move   ARGV[2] queue of a message without a record   Returns how many were moved.
local due = redis.call('ZRANGEBYSCORE', DEFERRED, '-inf', whole(clock()), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  local raw = redis.call('HGET', DEFERRED_MESSAGES, id)
  redis.call('ZREM', DEFERRED, id)
  redis.call('HDEL', DEFERRED_MESSAGES, id)
  local record = JOB_RECORD .. id
  if raw and redis.call('HEXISTS', record, 'settled') == 0 then
    local queue = redis.call('HGET', record, 'queue') or ARGV[2]
    local suspect = redis.call('HEXISTS', record, 'crashes') == 1
    redis.call('RPUSH', (suspect and QUARANTINE or QUEUE_LIST) .. queue, raw)
    if redis.call('EXISTS', record) == 1 then redis.call('HSET', record, 'state', 'queued') end
    ring()
  end
end
return #due
