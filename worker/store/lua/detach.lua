-- Lets a job run for itself: nobody who asked the same waits for it, and it waits for nobody.
-- ARGV[1] task id
-- ARGV[2] fencing token
-- Returns 1, or 0 when it is in no group, or not held under this token: a worker that has lost it
-- must not take it out of the group in which it follows by now.
-- uses: JOB_RECORD, detach, read
local id, token = ARGV[1], ARGV[2]
local record = JOB_RECORD .. id

local job = read(record, 'fingerprint', 'token')
if job.token ~= token or not job.fingerprint then return 0 end
detach(job.fingerprint, id)
redis.call('HDEL', record, 'fingerprint')
return 1
