-- Moves deferred messages that are due to the head of their own queues.
-- ARGV[1] most to move
-- ARGV[2] queue of a message without a record
-- Returns how many were due.
-- uses: DEFERRED, DEFERRED_MESSAGES, JOB_RECORD, clock, push_first, read, whole
local most, default_queue = ARGV[1], ARGV[2]

local due = redis.call('ZRANGEBYSCORE', DEFERRED, '-inf', whole(clock()), 'LIMIT', 0, most)
for _, id in ipairs(due) do
  local message = redis.call('HGET', DEFERRED_MESSAGES, id)
  redis.call('ZREM', DEFERRED, id)
  redis.call('HDEL', DEFERRED_MESSAGES, id)
  local record = JOB_RECORD .. id
  local job = read(record, 'settled', 'queue')
  if message and not job.settled then
    push_first(record, job.queue or default_queue, message)
    if redis.call('EXISTS', record) == 1 then redis.call('HSET', record, 'state', 'queued') end
  end
end
return #due
