-- Put a dead letter back into its queue under its old id, as if it had never run.
-- KEYS[1] job record (hash)   KEYS[2] result   KEYS[3] dead letters (zset)
-- KEYS[4] dead messages (hash)   KEYS[5] deadlines (zset)   KEYS[6] doorbell (list)
-- KEYS[7] unanswered (set)
-- ARGV[1] task id   ARGV[2] deadline, ms from now   ARGV[3] lifetime of an answer, s
-- ARGV[4] queue of a message whose record is gone   ARGV[5] most rings
-- Returns 1, or 0 when there is no such dead letter.
local raw = redis.call('HGET', KEYS[4], ARGV[1])
if not raw then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local queue = redis.call('HGET', KEYS[1], 'queue') or ARGV[4]
local deadline = string.format('%.0f', now + tonumber(ARGV[2]))
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[1], 'settled', 'error', 'cancelled', 'crashes', 'attempts', 'token', 'tag')
redis.call('HSET', KEYS[1], 'state', 'queued', 'queue', queue, 'deadline_ms', deadline,
  'submitted_ms', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(ARGV[2]) + tonumber(ARGV[3]) * 1000))
redis.call('ZADD', KEYS[5], deadline, ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('SREM', KEYS[7], ARGV[1])
redis.call('LPUSH', queue, raw)
redis.call('LPUSH', KEYS[6], '1')
redis.call('LTRIM', KEYS[6], 0, tonumber(ARGV[5]) - 1)
return 1
