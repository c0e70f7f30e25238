-- Take a joined job out of its flight and put it back into its queue.
-- ARGV[1] task id   Returns 1, or 0 when it has not joined.
local record = JOB_RECORD .. ARGV[1]
local fingerprint = redis.call('HGET', record, 'fingerprint')
local entry = fingerprint and redis.call('HGET', FOLLOWERS .. fingerprint, ARGV[1])
if not entry then return 0 end
detach(fingerprint, ARGV[1])
put_back(record, entry)
return 1
