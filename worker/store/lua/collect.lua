-- Copies a message that another application put on a bare list into our queue, under its id.
-- ARGV[1] task id
-- ARGV[2] queue
-- ARGV[3] message
-- ARGV[4] kind
-- ARGV[5] delay, ms; 0 = none
-- ARGV[6] deadline, ms from now
-- ARGV[7] lifetime of a result, s
-- ARGV[8] 1 if others wait for the job in a canvas: a worker has to end it
-- Returns 1, or 0 when there is such a job: the message was copied before, or its id is taken.
-- uses: DEADLINES, JOB_RECORD, QUEUE_LIST, RESULT_META, clock, defer, drop_letter, join_backlog
-- uses: ring, sent_event, tell_flower, whole
local id, queue, message, kind = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local delay_ms, deadline_ms, kept_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] * 1000
local in_canvas = ARGV[8] == '1'
local record = JOB_RECORD .. id

if redis.call('EXISTS', RESULT_META .. id) == 1 then return 0 end
if redis.call('EXISTS', record) == 1 then
  local settled, token = unpack(redis.call('HMGET', record, 'settled', 'token'))
  if not settled or token then return 0 end
  -- Its result has expired or was forgotten: a caller would wait for it forever.
  redis.call('DEL', record)
  drop_letter(id)
end
local now = clock()
local deadline = whole(now + deadline_ms)
redis.call('HSET', record, 'kind', kind, 'queue', queue, 'put', '1', 'deadline_ms', deadline,
  'by_name', '1', 'state', delay_ms > 0 and 'deferred' or 'queued')
if in_canvas then redis.call('HSET', record, 'canvas', '1') end
redis.call('PEXPIRE', record, whole(deadline_ms + kept_ms))
redis.call('ZADD', DEADLINES, deadline, id)
join_backlog(id, queue, string.len(message))
tell_flower(id, sent_event(kind, queue))
if delay_ms > 0 then
  defer(id, message, now + delay_ms)
else
  redis.call('LPUSH', QUEUE_LIST .. queue, message)
  ring()
end
return 1
