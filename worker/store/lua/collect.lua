-- Copy a message that another application has put on a bare list into our queue, under its id.
-- ARGV[1] task id   ARGV[2] queue   ARGV[3] message   ARGV[4] kind   ARGV[5] delay, ms; 0 = none
-- ARGV[6] deadline, ms from now   ARGV[7] lifetime of an answer, s
-- Returns 1, or 0 when there is such a job already: this one was copied before, or its id is taken.
local id, record = ARGV[1], JOB_RECORD .. ARGV[1]
if redis.call('EXISTS', record, RESULT_META .. id) > 0 then return 0 end
local now, delay = clock(), tonumber(ARGV[5])
local deadline = whole(now + tonumber(ARGV[6]))
redis.call('HSET', record, 'kind', ARGV[4], 'queue', ARGV[2], 'put', '1', 'deadline_ms', deadline,
  'state', delay > 0 and 'deferred' or 'queued')
redis.call('PEXPIRE', record, whole(tonumber(ARGV[6]) + tonumber(ARGV[7]) * 1000))
redis.call('ZADD', DEADLINES, deadline, id)
if delay > 0 then
  redis.call('HSET', DEFERRED_MESSAGES, id, ARGV[3])
  redis.call('ZADD', DEFERRED, whole(now + delay), id)
else
  redis.call('LPUSH', QUEUE_LIST .. ARGV[2], ARGV[3])
  ring()
end
return 1
