-- What take.lua asks of a message before it delivers it.

-- Tells whether a message is of no use: its job has ended, or a worker holds another copy of it. A
-- job that was admitted and has no record ended long ago, or its caller was told that it failed.
-- uses: JOB_RECORD, UNACKED, leave_backlog
local function is_spent(headers, job)
  if job.settled then return true end
  if job.tag and redis.call('HEXISTS', UNACKED, job.tag) == 1 then return true end
  local nonce = headers.llm_submitted  -- of an earlier call under the same id
  if type(nonce) == 'string' and job.nonce and job.nonce ~= nonce then return true end
  if not nonce or redis.call('EXISTS', JOB_RECORD .. headers.id) == 1 then
    return false
  end
  leave_backlog(headers.id)
  return true
end

-- Gives a job that another application put straight into a queue its record when it is taken, as
-- nobody admitted it. Returns its deadline, ms.
-- uses: DEADLINES, JOB_RECORD, join_backlog, whole
local function expect_by_name(id, task, queue, message_bytes, deadline)
  local kind = type(task) == 'string' and (string.match(task, '^llm%.(.+)$') or task) or ''
  redis.call('HSET', JOB_RECORD .. id, 'kind', kind, 'deadline_ms', whole(deadline))
  -- Celery's own task for `generate.map(...)` has no record either, and is ours.
  if not string.find(kind, '^celery%.') then
    redis.call('HSET', JOB_RECORD .. id, 'by_name', '1')
  end
  redis.call('ZADD', DEADLINES, whole(deadline), id)
  join_backlog(id, queue, message_bytes)
  return deadline
end
