-- Passes a job that this worker's engine failed on to the other workers: it is parked for one whose
-- engine has not failed it. Its followers go back to their queues and know who failed it.
-- ARGV[1] task id
-- ARGV[2] fencing token
-- ARGV[3] worker
-- ARGV[4] model that the worker ran it with, as the consensus names it
-- ARGV[5] 1 if the engine died while it ran alone: that is charged, too, when it is parked
-- ARGV[6] JSON for the savings ledger, see Work.savings_text
-- Returns {1} when it is parked; {0} when the message is not held under this token; {-1, names of
-- the workers whose engines failed it} when no other live worker can run it: nothing has moved.
-- uses: JOB_RECORD, UNACKED, WAITERS, can_run, clock, count_engine_death, disband, end_delivery
-- uses: enter_made, has_failed, is_to_end, leads, park, push_to_end, read, share_count, share_steps
-- uses: unwrap
local id, token, worker, model, died = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1'
local savings, record, now = cjson.decode(ARGV[6]), JOB_RECORD .. id, clock()

-- Notes in a job's record who failed it. Returns all who did.
local function note_failure(of)
  local failed_by = read(of, 'failed_by').failed_by
  if has_failed(failed_by, worker) then return failed_by end
  failed_by = failed_by and failed_by .. ' ' .. worker or worker
  redis.call('HSET', of, 'failed_by', failed_by)
  return failed_by
end

local job = read(record, 'token', 'tag', 'fingerprint', 'caller_left', 'model', 'submitted_ms',
  'failed_by', 'kept_steps')
local entry = job.token == token and redis.call('HGET', UNACKED, job.tag)
if not entry then
  enter_made(savings, token, 'left', now)
  return {0}
end
-- Nobody else can run it: then it runs here again, which who failed it must not rule out.
local all_failed = job.failed_by and job.failed_by .. ' ' .. worker or worker
if died and not can_run(job.model or model, all_failed) then return {-1, all_failed} end
local failed_by = note_failure(record)
-- Of a message sent by name nobody knew the model before: now it waits for a worker that has it.
local was_unknown = not job.model
if was_unknown then redis.call('HSET', record, 'model', model) end
if not was_unknown and not can_run(job.model, failed_by) then return {-1, failed_by} end
local leading = job.fingerprint and leads(job.fingerprint, id, token)
if died then
  local deaths = count_engine_death(record, true)
  if job.fingerprint then share_count(job.fingerprint, id, 'engine_deaths', deaths) end
end
end_delivery(job.tag)
enter_made(savings, token, 'left', now)
redis.call('HDEL', record, 'token', 'tag', 'worker')
share_steps(id, job)
if leading then
  for _, other in ipairs(redis.call('ZRANGE', WAITERS .. job.fingerprint, 0, -1)) do
    if redis.call('EXISTS', JOB_RECORD .. other) == 1 then note_failure(JOB_RECORD .. other) end
  end
  disband(job.fingerprint)
end
if job.caller_left then  -- only the others go on
  redis.call('HDEL', record, 'caller_left')
  return {1}
end
local message, queue = unwrap(entry)
if is_to_end(record) then
  push_to_end(record, queue, message)
  return {1}
end
park(id, queue, job.model or model, message, job.submitted_ms, now)
return {1}
