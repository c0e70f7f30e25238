-- Put a new message into its queue and ring for a waiting worker; with a delay, among the deferred.
-- From now on the job is noted under its fingerprint: whoever runs the same answers it too.
-- ARGV[1] queue   ARGV[2] message   ARGV[3] task id   ARGV[4] delay, ms; 0 = none
-- ARGV[5] lifetime of an answer, s
-- Returns 1, or 0 when the job has been put before (the reply was lost), or has its result already
-- (somebody cancelled it by an id that its caller had chosen, or its time was over).
local id, record = ARGV[3], JOB_RECORD .. ARGV[3]
local known = redis.call('EXISTS', record) == 1
if known and redis.call('HSETNX', record, 'put', '1') == 0 then return 0 end
if redis.call('HEXISTS', record, 'settled') == 1 then return 0 end
local delay, now = tonumber(ARGV[4]), clock()
if delay > 0 then
  redis.call('HSET', DEFERRED_MESSAGES, id, ARGV[2])
  redis.call('ZADD', DEFERRED, whole(now + delay), id)
  if known then redis.call('HSET', record, 'state', 'deferred', 'queue', ARGV[1]) end
  return 1
end
local seen = redis.call('HMGET', record, 'fingerprint', 'deadline_ms')
if seen[1] then add_waiter(seen[1], id, seen[2], tonumber(ARGV[5]) * 1000, now) end
redis.call('LPUSH', QUEUE_LIST .. ARGV[1], ARGV[2])
ring()
return 1
