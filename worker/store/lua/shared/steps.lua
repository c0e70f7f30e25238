-- Jobs of several steps: what is kept of these, and for whom such a job makes room between two.
-- step  string, by name: the completion of one step, in a place as the result cache's. A step that
--       jobs share has a fingerprint for a name; one of a job alone has task id, ".", number

-- Drops what is kept of the steps of one job alone.
-- uses: CACHE_ENTRY_OVERHEAD_BYTES, JOB_RECORD, STEP, STEP_BYTES, STEP_INDEX, drop_entry
local function drop_own_steps(id)
  local kept = redis.call('HGET', JOB_RECORD .. id, 'own_steps')
  if not kept then return end
  local place = {entries = STEP, index = STEP_INDEX, bytes = STEP_BYTES}
  for number = 1, tonumber(kept) do
    local name = id .. '.' .. number
    local member = name .. ':' .. redis.call('STRLEN', STEP .. name) + CACHE_ENTRY_OVERHEAD_BYTES
    if redis.call('ZSCORE', STEP_INDEX, member) then drop_entry(place, member) end
  end
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
