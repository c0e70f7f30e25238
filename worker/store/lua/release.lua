-- Puts a held message back: at the head of its queue, or among the deferred until it is due. Its
-- followers go the same way.
-- ARGV[1] task id
-- ARGV[2] fencing token
-- ARGV[3] delay, ms; 0 = back to the queue
-- ARGV[4] 1 if this counts as a try
-- Returns 1, or 0 when the message is not held under this token.
-- uses: JOB_RECORD, UNACKED, clock, defer, disband, end_delivery, leads, put_back, read
-- uses: share_count, unwrap
local id, token, delay_ms, counts = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local record = JOB_RECORD .. id

local job = read(record, 'token', 'tag', 'fingerprint', 'caller_left')
if job.token ~= token then return 0 end
local entry = redis.call('HGET', UNACKED, job.tag)
if not entry then return 0 end
local due = delay_ms > 0 and clock() + delay_ms or nil
local attempts = counts and redis.call('HINCRBY', record, 'attempts', 1) or nil
local leading = job.fingerprint and leads(job.fingerprint, id, token)
end_delivery(job.tag)
redis.call('HDEL', record, 'token', 'tag', 'worker')
if attempts and job.fingerprint then share_count(job.fingerprint, id, 'attempts', attempts) end
if leading then disband(job.fingerprint, due, attempts) end
if job.caller_left then  -- only the others go on
  redis.call('HDEL', record, 'caller_left')
elseif due then
  defer(id, (unwrap(entry)), due)
  redis.call('HSET', record, 'state', 'deferred')
else
  put_back(record, entry)
end
return 1
