-- For how long somebody waits for what a job generates.
-- ARGV[1] task id   Returns ms until the latest deadline in its flight; at most 0 when nobody does.
local fingerprint = redis.call('HGET', JOB_RECORD .. ARGV[1], 'fingerprint')
local latest = fingerprint
  and redis.call('ZREVRANGE', WAITERS .. fingerprint, 0, 0, 'WITHSCORES') or {}
if not latest[2] then return 0 end
return tonumber(latest[2]) - clock()
