-- Mark a job as cancelled and tell the worker that runs it.
-- ARGV[1] task id
-- Returns "unknown" for no such job, "running" while a worker holds it, "canvas" when the next
-- worker that takes it will fail it, or the one that runs it at its end; "shared" when it runs and
-- others wait for its answer (it is not marked: it has to leave), "waiting" while nobody holds it,
-- "ended" when it has its result.
local id, record = ARGV[1], JOB_RECORD .. ARGV[1]
if redis.call('EXISTS', record) == 0 then return 'unknown' end
local seen = redis.call('HMGET', record, 'settled', 'token', 'state', 'canvas', 'fingerprint')
if seen[1] then return 'ended' end
if seen[2] and seen[5] and leads(seen[5], id, seen[2]) and others_wait(seen[5], id) then
  if not seen[4] then return 'shared' end
  redis.call('HSET', record, 'cancel_requested', '1')
  return 'canvas'
end
redis.call('HSET', record, 'cancelled', '1')
if seen[2] then
  redis.call('PUBLISH', CANCEL_CHANNEL, id)
  return 'running'
end
if not seen[4] then return 'waiting' end
-- Others wait for it in a canvas: a worker fails it, with the message in hand.
local entry = seen[5] and redis.call('HGET', FOLLOWERS .. seen[5], id)
if entry then
  detach(seen[5], id)
  put_back(record, entry)
end
return 'canvas'
