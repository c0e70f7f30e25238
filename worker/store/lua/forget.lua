-- Take back a job whose caller was told that it was not queued: Redis may have queued it all the same.
-- ARGV[1] task id
local id, record = ARGV[1], JOB_RECORD .. ARGV[1]
local seen = redis.call('HMGET', record, 'fingerprint', 'token', 'tag')
if seen[2] then
  -- Somebody runs it already: that stops when its lease is renewed next, and leads nobody any more.
  end_delivery(seen[3])
  if seen[1] and leads(seen[1], id, seen[2]) then disband(seen[1], nil, nil, nil) end
end
redis.call('DEL', record)
redis.call('ZREM', DEADLINES, id)
if seen[1] then detach(seen[1], id) end
return 1
