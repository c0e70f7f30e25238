-- Finds jobs without a result whose deadline has passed, the earliest first. A job that stays is
-- looked at again only after a pause, so it stands in no other's way.
-- ARGV[1] most jobs to look at
-- ARGV[2] pause until the next look at the same job, ms
-- Returns {how many it looked at, the ids of those to fail}. A job in a canvas is ended by a worker
-- that holds its message, which is brought to where one finds it.
-- uses: DEADLINES, JOB_RECORD, clock, let_end, read, whole
local most, pause_ms = ARGV[1], tonumber(ARGV[2])
local now = clock()

local due = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', whole(now), 'LIMIT', 0, most)
local to_fail = {}
redis.call('ZREM', DEADLINES, '')  -- a first write that needs no memory, as in renew.lua
for _, id in ipairs(due) do
  local record = JOB_RECORD .. id
  local job = read(record, 'settled', 'canvas', 'put', 'starts', 'token', 'to_end', 'fingerprint',
    'queue', 'state')
  redis.call('ZADD', DEADLINES, 'XX', whole(now + pause_ms), id)
  -- The caller of a job without a message has died before it put it: no worker will ever hold it.
  if not job.canvas or not (job.put or job.starts) then
    table.insert(to_fail, id)
  elseif job.settled then
    redis.call('ZREM', DEADLINES, id)
  elseif not job.token and not job.to_end then
    -- Who ends it says what it waited for: a worker, not its turn.
    if job.state == 'parked' then redis.call('HSET', record, 'given_up', '1') end
    let_end(id, record, job)
  end
end
return {#due, to_fail}
