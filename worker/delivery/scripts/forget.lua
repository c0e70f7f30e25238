-- Remove the record of a job whose message was never sent.   ARGV[1] task id
local fingerprint = redis.call('HGET', JOB .. ARGV[1], 'fingerprint')
redis.call('DEL', JOB .. ARGV[1])
redis.call('ZREM', DEADLINES, ARGV[1])
if fingerprint then leave(fingerprint, ARGV[1]) end
return 1
