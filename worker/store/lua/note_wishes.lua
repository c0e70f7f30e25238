-- Writes down what only the message of a job that was sent by name says of it: by now a worker
-- holds it. The deadline of a job that was collected, or taken before, is known already.
-- ARGV[1] task id
-- ARGV[2] fencing token
-- ARGV[3] its own deadline, ms from now
-- ARGV[4] 1 if others wait for the job in a canvas: a worker has to end it
-- ARGV[5] lifetime of a result, s
-- Returns ms to its deadline; nil when the message is not held under this token.
-- uses: DEADLINES, JOB_RECORD, clock, keep_until, read, whole
local id, token, deadline_ms, in_canvas = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local kept_ms = ARGV[5] * 1000
local record, now = JOB_RECORD .. id, clock()

local job = read(record, 'token', 'deadline_ms', 'put', 'submitted_ms')
if job.token ~= token then return nil end
if in_canvas then redis.call('HSET', record, 'canvas', '1') end
if job.put or job.submitted_ms then return job.deadline_ms - now end
local deadline = now + deadline_ms
redis.call('HSET', record, 'deadline_ms', whole(deadline), 'put', '1')
redis.call('ZADD', DEADLINES, 'XX', whole(deadline), id)
keep_until(record, deadline + kept_ms, now)
return deadline_ms
