-- Removes a job whose caller was told that it was not queued: Redis may have queued it after all.
-- ARGV[1] task id
-- ARGV[2] nonce of that caller's submit: the job of another call under the same id stays
-- Returns 1, or 0 when the job is another call's, or gone.
-- uses: DEADLINES, JOB_RECORD, detach, disband, end_delivery, leads, leave_backlog, read, unpark
local id, nonce = ARGV[1], ARGV[2]
local record = JOB_RECORD .. id

local job = read(record, 'fingerprint', 'token', 'tag', 'nonce')
if job.nonce ~= nonce then return 0 end
if job.token then
  -- A worker runs it already: it stops when it renews its lease next, and leads nobody any more.
  end_delivery(job.tag)
  if job.fingerprint and leads(job.fingerprint, id, job.token) then disband(job.fingerprint) end
end
unpark(id)
redis.call('DEL', record)
redis.call('ZREM', DEADLINES, id)
leave_backlog(id)
if job.fingerprint then detach(job.fingerprint, id) end
return 1
