-- Jobs in a canvas that are cancelled, too late, or that nobody can run. A worker has to end them,
-- with the message in hand, and needs no engine for that: their messages wait apart, also for one
-- with a closed gate.

-- Tells whether a job in a canvas has only to be ended.
-- uses: clock, read
local function is_to_end(record)
  local job = read(record, 'canvas', 'cancelled', 'given_up', 'deadline_ms')
  if not job.canvas then return false end
  return job.cancelled or job.given_up or job.deadline_ms and tonumber(job.deadline_ms) <= clock()
end

-- Wakes another worker, where more messages wait to be ended.
-- uses: DOORBELL, END_BELL, TO_END
local function ring_to_end(queues)
  for _, queue in ipairs(queues) do
    for _, bell in ipairs(redis.call('LLEN', TO_END .. queue) > 0 and {END_BELL, DOORBELL} or {}) do
      if redis.call('LLEN', bell) == 0 then redis.call('LPUSH', bell, '1') end
    end
  end
  redis.call('EXPIRE', END_BELL, 60)
end

-- Lets the message wait for a worker that ends its job, and wakes one, be its gate open or closed.
-- uses: DOORBELL_MOST, END_BELL, TO_END, ring
local function push_to_end(record, queue, message)
  redis.call('HSET', record, 'to_end', '1', 'state', 'queued')
  redis.call('LPUSH', TO_END .. queue, message)
  redis.call('LPUSH', END_BELL, '1')
  redis.call('LTRIM', END_BELL, 0, DOORBELL_MOST - 1)
  redis.call('EXPIRE', END_BELL, 60)
  ring()
end

-- Brings the message of a job that nobody holds to where a worker ends it. One in a queue is only
-- sought here: sift.lua finds it. `job` has the fields queue and fingerprint.
-- uses: DEFERRED, DEFERRED_MESSAGES, FOLLOWERS, SOUGHT, detach, push_to_end, unpark, unwrap
local function let_end(id, record, job)
  local entry = job.fingerprint and redis.call('HGET', FOLLOWERS .. job.fingerprint, id)
  local message, queue = redis.call('HGET', DEFERRED_MESSAGES, id), job.queue
  if entry then
    detach(job.fingerprint, id)
    message, queue = unwrap(entry)
  elseif message then
    redis.call('ZREM', DEFERRED, id)
    redis.call('HDEL', DEFERRED_MESSAGES, id)
  else
    local parked, its_queue = unpark(id)
    message, queue = parked, its_queue or queue
  end
  if message then
    push_to_end(record, queue, message)
  else
    redis.call('SADD', SOUGHT, id)
  end
end
