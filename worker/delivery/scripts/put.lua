-- Put a new message into its queue and ring for a waiting worker; with a delay, among the deferred.
-- KEYS[1] queue (list)   KEYS[2] doorbell (list)   KEYS[3] deferred (zset)
-- KEYS[4] deferred messages (hash)   KEYS[5] job record (hash)
-- ARGV[1] message   ARGV[2] task id   ARGV[3] delay, ms; 0 = none   ARGV[4] most rings
-- ARGV[5] queue name   Returns 1, or 0 when the job has been put before (the reply was lost).
if redis.call('EXISTS', KEYS[5]) == 1 and redis.call('HSETNX', KEYS[5], 'put', '1') == 0 then
  return 0
end
local delay = tonumber(ARGV[3])
if delay > 0 then
  local time = redis.call('TIME')
  local due = time[1] * 1000 + math.floor(time[2] / 1000) + delay
  redis.call('HSET', KEYS[4], ARGV[2], ARGV[1])
  redis.call('ZADD', KEYS[3], string.format('%.0f', due), ARGV[2])
  if redis.call('EXISTS', KEYS[5]) == 1 then
    redis.call('HSET', KEYS[5], 'state', 'deferred', 'queue', ARGV[5])
  end
  return 1
end
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LPUSH', KEYS[2], '1')
redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[4]) - 1)
return 1
