-- A worker begins a job. A job that was sent by name has no record yet and gets one.
-- KEYS[1] job record (hash)
-- ARGV[1] default deadline, ms from now   ARGV[2] lifetime of an answer, s   ARGV[3] kind
-- ARGV[4] queue name   ARGV[5] worker name
-- Returns {milliseconds in the queue or -1 when unknown, milliseconds left to the deadline}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local submitted = redis.call('HGET', KEYS[1], 'submitted_ms')
local deadline = redis.call('HGET', KEYS[1], 'deadline_ms')
if not deadline then
  deadline = now + tonumber(ARGV[1])
  redis.call('HSET', KEYS[1], 'kind', ARGV[3], 'queue', ARGV[4],
    'deadline_ms', string.format('%.0f', deadline))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(ARGV[1]) + tonumber(ARGV[2]) * 1000))
end
redis.call('HSET', KEYS[1], 'state', 'running', 'worker', ARGV[5])
redis.call('HINCRBY', KEYS[1], 'starts', 1)
local queued = -1
if submitted then queued = math.max(0, now - tonumber(submitted)) end
return {queued, tonumber(deadline) - now}
