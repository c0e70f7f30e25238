-- A job runs for itself: nobody who asked the same waits for it, nor it for them.   ARGV[1] task id
local record = JOB_RECORD .. ARGV[1]
local fingerprint = redis.call('HGET', record, 'fingerprint')
if not fingerprint then return 0 end
detach(fingerprint, ARGV[1])
redis.call('HDEL', record, 'fingerprint')
return 1
