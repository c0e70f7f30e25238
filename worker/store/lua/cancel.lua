-- Marks a job as cancelled and tells the worker that runs it.
-- ARGV[1] task id
-- Returns "unknown" for no such job, "running" while a worker holds it, "canvas" when the worker
-- that takes it next fails it, or the one that runs it does so at its end; "shared" when it runs
-- and others wait for its answer (it is not marked: its caller has to leave the group), "waiting"
-- while nobody holds it, "ended" when it has its result.
-- uses: CANCEL_CHANNEL, DEADLINES, JOB_RECORD, leads, let_end, others_wait, read
local id = ARGV[1]
local record = JOB_RECORD .. id

if redis.call('EXISTS', record) == 0 then return 'unknown' end
redis.call('ZREM', DEADLINES, '')  -- A first write that needs no memory, as in renew.lua.
local job = read(record, 'settled', 'token', 'canvas', 'fingerprint', 'queue', 'to_end')
if job.settled then return 'ended' end
local leading = job.token and job.fingerprint and leads(job.fingerprint, id, job.token)
if leading and others_wait(job.fingerprint, id) then
  if not job.canvas then return 'shared' end
  redis.call('HSET', record, 'cancel_requested', '1')
  return 'canvas'
end
redis.call('HSET', record, 'cancelled', '1')
if job.token then
  redis.call('PUBLISH', CANCEL_CHANNEL, id)
  return 'running'
end
if not job.canvas then return 'waiting' end
-- The next steps of a canvas wait for it: a worker fails it, with the message in hand.
if not job.to_end then let_end(id, record, job) end
return 'canvas'
