-- Puts a dead letter back into its queue under its old id, as if it had never run.
-- ARGV[1] task id
-- ARGV[2] deadline, ms from now
-- ARGV[3] lifetime of a result, s
-- ARGV[4] queue of a message whose record is gone
-- Returns 1, or 0 when there is no such letter.
-- uses: DEADLINES, DEAD_LETTER_MESSAGES, JOB_RECORD, QUEUE_LIST, RESULT_META, UNANSWERED, clock
-- uses: drop_letter, join_backlog, ring, whole
local id, deadline_ms, kept_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3] * 1000
local default_queue = ARGV[4]
local record, now = JOB_RECORD .. id, clock()

local message = redis.call('HGET', DEAD_LETTER_MESSAGES, id)
if not message then return 0 end
local queue = redis.call('HGET', record, 'queue') or default_queue
local deadline = whole(now + deadline_ms)
redis.call('DEL', RESULT_META .. id)
redis.call('HDEL', record, 'settled', 'error', 'cancelled', 'crashes', 'engine_deaths', 'attempts',
  'token', 'tag', 'caller_left', 'cancel_requested', 'to_end', 'failed_by', 'given_up',
  'run', 'yields', 'done', 'total', 'phase')
redis.call('HSET', record, 'state', 'queued', 'queue', queue, 'deadline_ms', deadline,
  'submitted_ms', whole(now))
redis.call('PEXPIRE', record, whole(deadline_ms + kept_ms))
redis.call('ZADD', DEADLINES, deadline, id)
drop_letter(id)
join_backlog(id, queue, string.len(message))
redis.call('SREM', UNANSWERED, id)
redis.call('LPUSH', QUEUE_LIST .. queue, message)
ring()
return 1
