-- Which workers can run which jobs: by their models, and by whose engine has failed a job.

-- Tells whether a worker is among those whose engine failed a job.
local function has_failed(failed_by, worker)
  return failed_by and string.find(' ' .. failed_by .. ' ', ' ' .. worker .. ' ', 1, true) ~= nil
end

-- Tells whether a worker may take a job: it serves its model, or only has to end it.
-- uses: has_failed
local function may_run(job, worker, served, now)
  if not job.model or job.cancelled or job.given_up then return true end
  if job.deadline_ms and now > tonumber(job.deadline_ms) then return true end
  return served[job.model] and not has_failed(job.failed_by, worker)
end

-- Tells whether a live worker whose engine has not failed a job serves the job's model.
-- uses: CATALOG, has_failed
local function can_run(model, failed_by)
  local workers = redis.call('HGETALL', CATALOG)
  for place = 1, #workers, 2 do
    local says = cjson.decode(workers[place + 1])
    for _, served in ipairs(says.serves or {}) do
      if served == model and not has_failed(failed_by, workers[place]) then return true end
    end
  end
  return false
end

-- Notes that a worker serves its models now; one that its engine fails does not count.
-- uses: SERVED, SERVED_MS, whole
local function note_served(says, now)
  local failing = {}
  for _, model in ipairs(says.failing or {}) do failing[model] = true end
  for _, model in ipairs(says.serves or {}) do
    if not failing[model] then redis.call('ZADD', SERVED, whole(now), model) end
  end
  redis.call('ZREMRANGEBYSCORE', SERVED, '-inf', whole(now - SERVED_MS))
  redis.call('PEXPIRE', SERVED, SERVED_MS)
end
