-- Pops one message and records its delivery in one step: the message is in a queue or held, never
-- neither.
-- ARGV[1] worker
-- ARGV[2] 1 if it may take a quarantined message
-- ARGV[3] deadline of a job that has none, ms from now
-- ARGV[4] lifetime of a result, s
-- ARGV[5] nonce of this take: one that is repeated, as its reply was lost, gets the same message
-- ARGV[6..] queues, most urgent first; the quarantine of each comes before it
-- Returns nil, or {queue, message, task id, delivery tag, fencing token, ms in the queue or -1
-- where nobody knows, ms to its deadline, attempts so far, crashes so far, 1 if it is cancelled}.
-- The message is never re-encoded.
-- uses: DEADLINES, DOORBELL, FENCE, JOB_RECORD, LAST_TAKE, QUARANTINE, QUEUE_LIST, UNACKED
-- uses: UNACKED_INDEX, UNACKED_JOBS, UNREADABLE, UNREADABLE_MOST, clock, elapsed, read, unwrap
-- uses: whole
local worker, may_take_quarantined, default_deadline_ms = ARGV[1], ARGV[2] == '1', ARGV[3]
local kept_ms, nonce, queues = ARGV[4] * 1000, ARGV[5], {unpack(ARGV, 6)}
local now, last_take = clock(), LAST_TAKE .. worker

local function read_job(id)
  return read(JOB_RECORD .. id, 'settled', 'tag', 'token', 'submitted_ms', 'deadline_ms',
    'attempts', 'crashes', 'cancelled')
end

local function reply(job, queue, message, id, tag, token)
  return {queue, message, id, tag, token, elapsed(job.submitted_ms, now) or -1,
    job.deadline_ms - now, tonumber(job.attempts or 0), tonumber(job.crashes or 0),
    job.cancelled and 1 or 0}
end

-- Tells whether a message is of no use: its job has ended, or a worker holds another copy of it. A
-- job that was admitted and has no record ended long ago, or its caller was told that it failed.
local function is_over(headers, job)
  if job.settled then return true end
  if job.tag and redis.call('HEXISTS', UNACKED, job.tag) == 1 then return true end
  return headers.llm_submitted and redis.call('EXISTS', JOB_RECORD .. headers.id) == 0
end

local function deliver(raw, message, queue)
  local headers, tag = message.headers, message.properties.delivery_tag
  local id = headers.id
  local record, job = JOB_RECORD .. id, read_job(id)
  if is_over(headers, job) then return nil end
  local token = redis.call('INCR', FENCE)
  redis.call('ZADD', UNACKED_INDEX, string.format('%.3f', now / 1000), tag)
  redis.call('HSET', UNACKED, tag, '[' .. raw .. ', "", "' .. queue .. '"]')
  redis.call('HSET', UNACKED_JOBS, tag, id)
  if not job.deadline_ms then  -- another application sent it by name
    local task = type(headers.task) == 'string' and headers.task or ''
    job.deadline_ms = whole(now + default_deadline_ms)
    redis.call('HSET', record, 'kind', string.match(task, '^llm%.(.+)$') or task,
      'deadline_ms', job.deadline_ms)
    -- Celery's own task for `generate.map(...)` has no record either, and is ours.
    if not string.find(task, '^celery%.') then redis.call('HSET', record, 'by_name', '1') end
    redis.call('ZADD', DEADLINES, job.deadline_ms, id)
  end
  redis.call('PEXPIRE', record, whole(math.max(0, job.deadline_ms - now) + kept_ms))
  redis.call('HSET', record, 'state', 'running', 'queue', queue, 'worker', worker,
    'token', token, 'tag', tag)
  redis.call('HINCRBY', record, 'starts', 1)
  redis.call('HSET', last_take, 'nonce', nonce, 'id', id, 'token', token)
  redis.call('EXPIRE', last_take, 3600)
  return reply(job, queue, raw, id, tag, token)
end

local function decode(raw)
  local ok, message = pcall(cjson.decode, raw)
  return ok and type(message) == 'table' and type(message.headers) == 'table'
    and type(message.headers.id) == 'string' and type(message.properties) == 'table'
    and type(message.properties.delivery_tag) == 'string' and message or nil
end

local function take_from(list, queue)
  for _ = 1, 1000 do  -- messages that are over or unreadable are dropped on the way
    local raw = redis.call('RPOP', list)
    if not raw then return nil end
    local message = decode(raw)
    local delivery = message and deliver(raw, message, queue)
    if delivery then return delivery end
    if not message then
      redis.call('LPUSH', UNREADABLE, raw)
      redis.call('LTRIM', UNREADABLE, 0, UNREADABLE_MOST - 1)
    end
  end
end

-- One ring may stand for several messages: another worker is to look for the rest.
local function ring_for_the_rest()
  for _, queue in ipairs(queues) do
    if redis.call('LLEN', QUARANTINE .. queue) + redis.call('LLEN', QUEUE_LIST .. queue) > 0 then
      if redis.call('LLEN', DOORBELL) == 0 then redis.call('LPUSH', DOORBELL, '1') end
      return
    end
  end
end

local last_nonce, last_id, last_token = unpack(
  redis.call('HMGET', last_take, 'nonce', 'id', 'token'))
if last_nonce == nonce then
  local job = read_job(last_id)
  local entry = job.token == last_token and redis.call('HGET', UNACKED, job.tag)
  if entry then
    local message, queue = unwrap(entry)
    return reply(job, queue, message, last_id, job.tag, tonumber(job.token))
  end
end
for _, queue in ipairs(queues) do
  local delivery = may_take_quarantined and take_from(QUARANTINE .. queue, queue)
    or take_from(QUEUE_LIST .. queue, queue)
  if delivery then
    ring_for_the_rest()
    return delivery
  end
end
return nil
