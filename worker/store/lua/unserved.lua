-- Finds parked jobs that no live worker can run, for longer than they may wait for one. A worker
-- that served the model until a moment ago may only be restarting: the wait begins when it went.
-- ARGV[1] how long a job waits, ms
-- ARGV[2] most jobs to look at in each queue
-- ARGV[3..] queues
-- Returns the ids of the jobs.
-- uses: JOB_RECORD, PARKED, SERVED, can_run, clock, read, unpark, whole
local wait_ms, most, queues = tonumber(ARGV[1]), ARGV[2], {unpack(ARGV, 3)}
local now = clock()

-- Returns since when no worker can run the job, ms, as far as anybody knows.
local function unserved_since(job)
  -- Where engines have failed it, what counts is a worker that has not tried.
  if job.failed_by then return can_run(job.model, job.failed_by) and now or 0 end
  return tonumber(redis.call('ZSCORE', SERVED, job.model) or 0)
end

local found = {}
for _, queue in ipairs(queues) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', PARKED .. queue, '-inf', whole(now - wait_ms),
      'LIMIT', 0, most)) do
    local job = read(JOB_RECORD .. id, 'model', 'failed_by', 'settled')
    if job.settled or not job.model then  -- it has ended, or its record is gone
      unpark(id)
    else
      local since = unserved_since(job)
      if since > now - wait_ms then
        redis.call('ZADD', PARKED .. queue, 'XX', whole(since), id)
      else
        table.insert(found, id)
      end
    end
  end
end
return found
