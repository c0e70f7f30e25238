-- Takes a follower out of its group and puts it back into its queue.
-- ARGV[1] task id
-- Returns 1, or 0 when the job follows nobody.
-- uses: FOLLOWERS, JOB_RECORD, detach, put_back
local id = ARGV[1]
local record = JOB_RECORD .. id

local fingerprint = redis.call('HGET', record, 'fingerprint')
local entry = fingerprint and redis.call('HGET', FOLLOWERS .. fingerprint, id)
if not entry then return 0 end
detach(fingerprint, id)
put_back(record, entry)
return 1
