-- Admit one job: refuse an id that exists and a queue that is full, else write its record.
-- KEYS[1] job record (hash)   KEYS[2] queue (list)   KEYS[3] deadlines (zset)
-- ARGV[1] most jobs in the queue, 0 = no limit   ARGV[2] deadline, ms from now
-- ARGV[3] lifetime of an answer, s   ARGV[4] kind   ARGV[5] queue name   ARGV[6] task id
-- ARGV[8] 1 if others wait for it in a canvas
-- ARGV[7] nonce of this call: a call that is repeated because its reply was lost is not a second one
-- Returns {"queue" | "exists" | "full", length of the queue}. Times are Redis's own clock, ms.
local length = redis.call('LLEN', KEYS[2])
if redis.call('EXISTS', KEYS[1]) == 1 then
  -- The same call again; or an earlier one that died before its message was put.
  local seen = redis.call('HMGET', KEYS[1], 'nonce', 'put', 'settled')
  if seen[1] == ARGV[7] or (seen[1] and not seen[2] and not seen[3]) then
    return {'queue', length}
  end
  return {'exists', length}
end
local most = tonumber(ARGV[1])
if most > 0 and length >= most then return {'full', length} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = string.format('%.0f', now + tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'kind', ARGV[4], 'queue', ARGV[5], 'state', 'queued',
  'nonce', ARGV[7],
  'submitted_ms', string.format('%.0f', now), 'deadline_ms', deadline)
if ARGV[8] == '1' then redis.call('HSET', KEYS[1], 'canvas', '1') end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(ARGV[2]) + tonumber(ARGV[3]) * 1000))
redis.call('ZADD', KEYS[3], deadline, ARGV[6])
return {'queue', length}
