-- Put a held message back: at the head of its queue, or among the deferred until it is due. What has
-- joined it goes the same way.
-- ARGV[1] task id   ARGV[2] fence token   ARGV[3] delay, ms; 0 = back to the queue
-- ARGV[4] 1 if this counts as a try
-- Returns 1, or 0 when the message is not held under this token (any more).
local id, token, record = ARGV[1], ARGV[2], JOB_RECORD .. ARGV[1]
local seen = redis.call('HMGET', record, 'token', 'tag', 'fingerprint', 'caller_left')
if seen[1] ~= token then return 0 end
local entry = redis.call('HGET', UNACKED, seen[2])
if not entry then return 0 end
local due = tonumber(ARGV[3]) > 0 and clock() + tonumber(ARGV[3]) or nil
local attempts = ARGV[4] == '1' and redis.call('HINCRBY', record, 'attempts', 1) or nil
local leading = seen[3] and leads(seen[3], id, token)
end_delivery(seen[2])
redis.call('HDEL', record, 'token', 'tag', 'worker')
if attempts and seen[3] then share(seen[3], id, 'attempts', attempts) end
if leading then disband(seen[3], due, attempts, nil) end
if seen[4] then  -- its caller has left: only the others go on
  redis.call('HDEL', record, 'caller_left')
elseif due then
  defer(id, record, entry, due)
else
  put_back(record, entry)
end
return 1
