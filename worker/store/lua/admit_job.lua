-- Counts a job among those that its API key has at once, unless there are as many as it may have.
-- Jobs that have their result are taken out then: whoever died, they count no more. Where still
-- none is free, the new job takes the place of one whose caller has gone away.
-- ARGV[1] key id
-- ARGV[2] task id
-- ARGV[3] most jobs at once
-- ARGV[4] how long a job may be on its way into its queue, ms
-- Returns {1 if the job counts now, 2 if it has before, 0 if there are too many; the task id of the
-- job whose place it takes, or ""}.
-- uses: API_JOBS, API_JOBS_SECONDS, JOB_RECORD, ORPHANS, RESULT_META, clock, whole
local id, task_id, most, underway_ms = API_JOBS .. ARGV[1], ARGV[2], ARGV[3] + 0, ARGV[4] + 0
local now = clock()

-- Tells whether a job counts: one without a record is on its way, was answered from the cache, or
-- never came.
local function is_there(job, admitted_ms)
  local state, settled = unpack(redis.call('HMGET', JOB_RECORD .. job, 'state', 'settled'))
  if state then return not settled end
  if redis.call('EXISTS', RESULT_META .. job) == 1 then return false end
  return now - admitted_ms < underway_ms
end

redis.call('ZREM', id, '')  -- a first write that needs no memory, as in renew.lua
if redis.call('ZSCORE', id, task_id) then return {2, ''} end
local instead = ''
if redis.call('ZCARD', id) >= most then
  local jobs, left = redis.call('ZRANGE', id, 0, -1, 'WITHSCORES'), 0
  for place = 1, #jobs, 2 do
    local job, admitted_ms = jobs[place], tonumber(jobs[place + 1])
    if not is_there(job, admitted_ms) then
      redis.call('ZREM', id, job)
    else
      left = left + 1
      if instead == '' and redis.call('ZSCORE', ORPHANS, job) then instead = job end
    end
  end
  if left < most then instead = '' end
  if left > most or left == most and instead == '' then return {0, ''} end
  if instead ~= '' then redis.call('ZREM', id, instead) end
end
redis.call('ZADD', id, whole(now), task_id)
redis.call('EXPIRE', id, API_JOBS_SECONDS)
return {1, instead}
