-- Removes a job whose caller was told that it was not queued: Redis may have queued it after all.
-- ARGV[1] task id
-- Returns 1.
-- uses: DEADLINES, JOB_RECORD, detach, disband, end_delivery, leads, leave_backlog, read, unpark
local id = ARGV[1]
local record = JOB_RECORD .. id

local job = read(record, 'fingerprint', 'token', 'tag')
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
