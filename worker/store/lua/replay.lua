-- Put a dead letter back into its queue under its old id, as if it had never run.
-- ARGV[1] task id   ARGV[2] deadline, ms from now   ARGV[3] lifetime of an answer, s
-- ARGV[4] queue of a message whose record is gone   Returns 1, or 0 when there is no such letter.
local id, record = ARGV[1], JOB_RECORD .. ARGV[1]
local raw = redis.call('HGET', DEAD_LETTER_MESSAGES, id)
if not raw then return 0 end
local now = clock()
local queue = redis.call('HGET', record, 'queue') or ARGV[4]
local deadline = whole(now + tonumber(ARGV[2]))
redis.call('DEL', RESULT_META .. id)
redis.call('HDEL', record, 'settled', 'error', 'cancelled', 'crashes', 'attempts', 'token', 'tag',
  'caller_left', 'cancel_requested')
redis.call('HSET', record, 'state', 'queued', 'queue', queue, 'deadline_ms', deadline,
  'submitted_ms', whole(now))
redis.call('PEXPIRE', record, whole(tonumber(ARGV[2]) + tonumber(ARGV[3]) * 1000))
redis.call('ZADD', DEADLINES, deadline, id)
redis.call('ZREM', DEAD_LETTERS, id)
redis.call('HDEL', DEAD_LETTER_MESSAGES, id)
redis.call('SREM', UNANSWERED, id)
redis.call('LPUSH', QUEUE_LIST .. queue, raw)
ring()
return 1
