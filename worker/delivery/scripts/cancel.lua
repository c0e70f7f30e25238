-- Mark a job as cancelled and tell the worker that runs it.
-- KEYS[1] job record (hash)   ARGV[1] task id   ARGV[2] channel
-- Returns "unknown" for no such job, "running" while a worker holds it, "canvas" when the next
-- worker that takes it will fail it, else the state it is in.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'unknown' end
local seen = redis.call('HMGET', KEYS[1], 'settled', 'token', 'state')
if seen[1] then return seen[3] end
redis.call('HSET', KEYS[1], 'cancelled', '1')
if not seen[2] then
  -- Others wait for it in a canvas: a worker fails it, with the message in hand.
  if redis.call('HEXISTS', KEYS[1], 'canvas') == 1 then return 'canvas' end
  return seen[3]
end
redis.call('PUBLISH', ARGV[2], ARGV[1])
return 'running'
