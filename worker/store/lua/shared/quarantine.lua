-- Suspects: jobs that were running when a worker or an engine died. Each runs with nothing beside
-- it in its worker, so that the next death tells which of them is guilty.

-- Tells whether a job, read with its counts, is a suspect.
local function is_suspect(job)
  return job.crashes ~= nil or job.engine_deaths ~= nil
end

-- Tells whether a suspect waits that a worker may run. One at the head of the quarantine that it
-- may not run is parked for those that may, and one that is over is dropped.
-- uses: JOB_RECORD, QUARANTINE, decode, is_spent, is_suspect, may_run, next_parked, park, read
local function suspect_waits(queue, worker, models, served, now)
  local function read_job(id)
    return read(JOB_RECORD .. id, 'model', 'failed_by', 'given_up', 'cancelled', 'deadline_ms',
      'crashes', 'engine_deaths', 'submitted_ms', 'settled', 'tag', 'nonce')
  end
  for _ = 1, 20 do
    local raw = redis.call('LINDEX', QUARANTINE .. queue, -1)
    local message = raw and decode(raw)
    if not message then break end
    local job = read_job(message.headers.id)
    local is_over = is_spent(message.headers, job)
    if not is_over and may_run(job, worker, served, now) then return true end
    redis.call('RPOP', QUARANTINE .. queue)
    if not is_over then
      park(message.headers.id, queue, job.model, raw, job.submitted_ms, now)
    end
  end
  return next_parked(queue, models, function(id)
    local job = read_job(id)
    return is_suspect(job) and may_run(job, worker, served, now)
  end) ~= nil
end

-- Tells whether a worker is to take nothing, so that it empties itself for a suspect of this queue.
-- One worker at a time does so; the others go on.
-- uses: CLEARING, CLEARING_MS, suspect_waits
local function must_clear(queue, worker, models, served, now)
  if not suspect_waits(queue, worker, models, served, now) then return false end
  local clearing = redis.call('GET', CLEARING)
  if clearing and clearing ~= worker then return false end
  redis.call('SET', CLEARING, worker, 'PX', CLEARING_MS)
  return true
end

-- Counts the death of an engine against a job that it ran: beside others a job only becomes a
-- suspect, alone it is charged. Returns the count.
-- uses: raise_to
local function count_engine_death(record, alone)
  local before = tonumber(redis.call('HGET', record, 'engine_deaths') or 0)
  local deaths = math.max(1, alone and before > 0 and before + 1 or before)
  raise_to(record, 'engine_deaths', deaths)
  return deaths
end
