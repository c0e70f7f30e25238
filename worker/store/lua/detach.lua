-- Lets a job run for itself: nobody who asked the same waits for it, and it waits for nobody.
-- ARGV[1] task id
-- Returns 1, or 0 when it is in no group.
-- uses: JOB_RECORD, detach
local id = ARGV[1]
local record = JOB_RECORD .. id

local fingerprint = redis.call('HGET', record, 'fingerprint')
if not fingerprint then return 0 end
detach(fingerprint, id)
redis.call('HDEL', record, 'fingerprint')
return 1
