-- Marks a job as cancelled and tells the worker that runs it.
-- ARGV[1] task id
-- Returns "unknown" for no such job, "running" while a worker holds it, "canvas" when the worker
-- that takes it next fails it, or the one that runs it does so at its end; "shared" when it runs
-- and others wait for its answer (it is not marked: its caller has to leave the group), "waiting"
-- while nobody holds it, "ended" when it has its result.
-- uses: CANCEL_CHANNEL, DEADLINES, FOLLOWERS, JOB_RECORD, detach, leads, others_wait, put_back
-- uses: read
local id = ARGV[1]
local record = JOB_RECORD .. id

if redis.call('EXISTS', record) == 0 then return 'unknown' end
redis.call('ZREM', DEADLINES, '')  -- A first write that needs no memory, as in renew.lua.
local job = read(record, 'settled', 'token', 'canvas', 'fingerprint')
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
local entry = job.fingerprint and redis.call('HGET', FOLLOWERS .. job.fingerprint, id)
if entry then
  detach(job.fingerprint, id)
  put_back(record, entry)
end
return 'canvas'
