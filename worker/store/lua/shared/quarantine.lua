-- Suspects: jobs that were running when a worker or an engine died. Each runs with nothing beside
-- it in its worker, so that the next death tells which of them is guilty.

-- Tells whether a job, read with its counts, is a suspect.
local function is_suspect(job)
  return job.crashes ~= nil or job.engine_deaths ~= nil
end

-- Tells whether a worker is to take nothing, so that it empties itself for a suspect of this queue.
-- One worker at a time does so; the others go on.
-- uses: CLEARING, CLEARING_MS, QUARANTINE
local function must_clear(queue, worker)
  if redis.call('LLEN', QUARANTINE .. queue) == 0 then return false end
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
