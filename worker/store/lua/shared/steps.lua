-- Jobs of several steps: what is kept of these, and for whom such a job makes room between two.
-- step       string, by name: the completion of one step, in a place as the result cache's
-- own_steps  set, by task id: members of that place's index which are of this job alone

-- Keeps a step, once.
-- uses: CACHE_ENTRY_OVERHEAD_BYTES, OWN_STEPS, STEP, STEP_BYTES, STEP_INDEX, keep_entry
local function keep_step(id, step, bounds, now)
  local place = {entries = STEP, index = STEP_INDEX, bytes = STEP_BYTES}
  if not keep_entry(place, step.name, step.entry, bounds, now) or not step.is_own then return end
  local bytes = string.len(step.entry) + CACHE_ENTRY_OVERHEAD_BYTES
  redis.call('SADD', OWN_STEPS .. id, step.name .. ':' .. bytes)
  redis.call('EXPIRE', OWN_STEPS .. id, bounds.seconds)
end

-- Drops the steps that were kept, or bought, for one job alone.
-- uses: OWN_STEPS, PAID_STEPS, STEP, STEP_BYTES, STEP_INDEX, drop_entry
local function drop_own_steps(id)
  redis.call('DEL', PAID_STEPS .. id)
  local members = redis.call('SMEMBERS', OWN_STEPS .. id)
  if #members == 0 then return end
  local place = {entries = STEP, index = STEP_INDEX, bytes = STEP_BYTES}
  for _, member in ipairs(members) do
    if redis.call('ZSCORE', STEP_INDEX, member) then drop_entry(place, member) end
  end
  redis.call('DEL', OWN_STEPS .. id)
end

-- Tells whether a message waits in a queue, or parked, that a worker would take now. A suspect does
-- not count, as it needs a worker with nothing in it.
-- uses: JOB_RECORD, QUEUE_LIST, decode, is_suspect, may_run, next_parked, read
local function is_awaited(queue, worker, models, served, now)
  local function may_take(id)
    local job = read(JOB_RECORD .. id, 'model', 'failed_by', 'given_up', 'cancelled', 'deadline_ms',
      'crashes', 'engine_deaths', 'settled')
    return not job.settled and not is_suspect(job) and may_run(job, worker, served, now)
  end
  for place = -1, -20, -1 do  -- a worker parks or drops the others on its way
    local raw = redis.call('LINDEX', QUEUE_LIST .. queue, place)
    local message = raw and decode(raw)
    if not raw then break end
    if message and may_take(message.headers.id) then return true end
  end
  return next_parked(queue, models, may_take) ~= nil
end
