-- Pops one message and records its delivery in one step: the message is in a queue or held, never
-- neither. What this worker cannot run is parked on the way.
-- ARGV[1] worker
-- ARGV[2] quarantined messages: "first", "last" (others of their queue before them), "no", or
--         "clear" (not now, and others only while none waits); "end" = only what it has to end
-- ARGV[3] deadline of a job that has none, ms from now
-- ARGV[4] lifetime of a result, s
-- ARGV[5] nonce of this take, new for ever: one that is repeated, as its reply was lost, gets the
--         same message
-- ARGV[6] number of models that the worker serves
-- ARGV[7..] these models, as the consensus names them; then queues, most urgent first; what is
--         parked in a queue for one of the models comes before it
-- Returns nil; "clear" when the worker is to empty itself for a quarantined message; or {queue,
-- message, task id, delivery tag, fencing token, ms in the queue or -1 where nobody knows, ms to
-- its deadline, attempts so far, crashes so far, 1 if it is cancelled, deaths of engines so far,
-- its model or "" where nobody knows, 1 if nobody can run it, steps that an earlier run has kept}.
-- The message is never re-encoded.
-- uses: FENCE, JOB_RECORD, LAST_TAKE, PARK_AT_ONCE, QUARANTINE, QUEUE_LIST, TO_END, UNACKED
-- uses: UNACKED_INDEX, UNACKED_JOBS, clock, decode, elapsed, expect_by_name, is_spent
-- uses: is_suspect, may_run, must_clear, next_parked, park, put_unreadable, read
-- uses: ring_for_the_rest, ring_to_end, unpark, unwrap, whole
local worker, quarantined, default_deadline_ms = ARGV[1], ARGV[2], ARGV[3]
local kept_ms, nonce, serves, words = ARGV[4] * 1000, ARGV[5], tonumber(ARGV[6]), {unpack(ARGV, 7)}
local models, queues = {unpack(words, 1, serves)}, {unpack(words, serves + 1)}
local now, last_take, parked = clock(), LAST_TAKE .. worker, 0
local served = {}
for _, model in ipairs(models) do served[model] = true end

local function read_job(id)
  return read(JOB_RECORD .. id, 'settled', 'tag', 'token', 'submitted_ms', 'deadline_ms',
    'attempts', 'crashes', 'cancelled', 'engine_deaths', 'model', 'failed_by', 'given_up', 'nonce',
    'kept_steps')
end

local function reply(job, queue, message, id, tag, token)
  return {queue, message, id, tag, token, elapsed(job.submitted_ms, now) or -1,
    job.deadline_ms - now, tonumber(job.attempts or 0), tonumber(job.crashes or 0),
    job.cancelled and 1 or 0, tonumber(job.engine_deaths or 0), job.model or '',
    job.given_up and 1 or 0, tonumber(job.kept_steps or 0)}
end

local function is_barred(job)
  return is_suspect(job) and (quarantined == 'no' or quarantined == 'clear')
end

local function deliver(raw, message, queue, to_be_ended)
  local headers, tag = message.headers, message.properties.delivery_tag
  local id = headers.id
  local record, job = JOB_RECORD .. id, read_job(id)
  if is_spent(headers, job) then return nil end
  if not may_run(job, worker, served, now) then
    park(id, queue, job.model, raw, job.submitted_ms, now)
    parked = parked + 1
    return nil
  end
  if is_barred(job) and not to_be_ended then
    redis.call('LPUSH', QUARANTINE .. queue, raw)  -- it shares the count of its group
    return nil
  end
  -- The count alone comes again when Redis has lost its last second.
  local token = redis.call('INCR', FENCE) .. '-' .. nonce
  redis.call('ZADD', UNACKED_INDEX, string.format('%.3f', now / 1000), tag)
  redis.call('HSET', UNACKED, tag, '[' .. raw .. ', "", "' .. queue .. '"]')
  redis.call('HSET', UNACKED_JOBS, tag, id)
  job.deadline_ms = job.deadline_ms
    or expect_by_name(id, headers.task, queue, string.len(raw), now + default_deadline_ms)
  redis.call('PEXPIRE', record, whole(math.max(0, job.deadline_ms - now) + kept_ms))
  redis.call('HSET', record, 'state', 'running', 'queue', queue, 'worker', worker,
    'token', token, 'tag', tag)
  redis.call('HINCRBY', record, 'starts', 1)
  redis.call('HSET', last_take, 'nonce', nonce, 'id', id, 'token', token)
  redis.call('EXPIRE', last_take, 3600)
  return reply(job, queue, raw, id, tag, token)
end

local function take_from(list, queue, to_be_ended)
  for _ = 1, 1000 do  -- messages that are over or unreadable are dropped on the way
    local raw = parked < PARK_AT_ONCE and redis.call('RPOP', list)
    if not raw then return nil end
    local message = decode(raw)
    local delivery = message and deliver(raw, message, queue, to_be_ended)
    if delivery then return delivery end
    if not message then put_unreadable(raw) end
  end
end

local function take_parked(queue)
  local id = next_parked(queue, models, function(one)
    local job = read_job(one)
    return not is_barred(job) and may_run(job, worker, served, now)
  end)
  local raw = id and unpark(id)
  return raw and (deliver(raw, decode(raw), queue) or take_parked(queue)) or nil
end

local last_nonce, last_id, last_token = unpack(
  redis.call('HMGET', last_take, 'nonce', 'id', 'token'))
if last_nonce == nonce then
  local job = read_job(last_id)
  local entry = job.token == last_token and redis.call('HGET', UNACKED, job.tag)
  if entry then
    local message, queue = unwrap(entry)
    return reply(job, queue, message, last_id, job.tag, job.token)
  end
end
local found
for _, queue in ipairs(queues) do found = found or take_from(TO_END .. queue, queue, true) end
for _, queue in ipairs(quarantined ~= 'end' and queues or {}) do
  if found then break end
  if quarantined == 'clear' and must_clear(queue, worker, models, served, now) then
    return 'clear'
  end
  found = quarantined == 'first' and take_from(QUARANTINE .. queue, queue)
    or take_parked(queue) or take_from(QUEUE_LIST .. queue, queue)
    or quarantined == 'last' and take_from(QUARANTINE .. queue, queue)
end
if found or quarantined == 'end' then ring_to_end(queues) end
if found or parked >= PARK_AT_ONCE then ring_for_the_rest(queues, models) end
return found
