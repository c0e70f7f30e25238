-- Takes messages from workers that did not renew their lease: one crash each. Followers go back to
-- their queues and share the crash: identical jobs are equally dangerous.
-- ARGV[1] lease, s
-- ARGV[2] crashes at which a job is given up
-- ARGV[3] most messages to take
-- Returns the ids of their jobs. A job that is given up becomes a dead letter and stays among the
-- unanswered until a worker has stored its failure.
-- uses: JOB_RECORD, QUARANTINE, UNACKED, UNACKED_INDEX, UNACKED_JOBS, UNANSWERED, bury, clock
-- uses: disband, end_delivery, is_to_end, leads, push_to_end, read, ring, share_count, share_steps
-- uses: unwrap
local lease_seconds, max_crashes, most = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local now = clock()

local function give_up(id, record, message)
  bury(id, message, now)
  redis.call('SADD', UNANSWERED, id)
  redis.call('HSET', record, 'state', 'failed', 'error', 'crashed_too_often')
end

local function quarantine(record, message, queue)
  if is_to_end(record) then return push_to_end(record, queue, message) end
  redis.call('LPUSH', QUARANTINE .. queue, message)
  redis.call('HSET', record, 'state', 'queued')
  ring()
end

local function reap(id, record, entry, job)
  local crashes = redis.call('HINCRBY', record, 'crashes', 1)
  local leading = job.fingerprint and leads(job.fingerprint, id, job.token)
  redis.call('HDEL', record, 'token', 'tag', 'worker', 'caller_left')
  if redis.call('PTTL', record) == -1 then redis.call('EXPIRE', record, 86400) end
  if leading then
    share_count(job.fingerprint, id, 'crashes', crashes)
    share_steps(id, job)
    disband(job.fingerprint, nil, nil, crashes)
  end
  if job.caller_left then return end  -- only the others go on
  -- A job in a canvas goes to a worker once more, to fail there: only with the message in hand can
  -- Celery tell a chord or the next steps of a chain.
  local limit = job.canvas and max_crashes + 1 or max_crashes
  local message, queue = unwrap(entry)
  if crashes >= limit then
    give_up(id, record, message)
  else
    quarantine(record, message, queue)
  end
end

local reaped = {}
local last_renewal = string.format('%.3f', now / 1000 - lease_seconds)
for _, tag in ipairs(
    redis.call('ZRANGEBYSCORE', UNACKED_INDEX, '-inf', last_renewal, 'LIMIT', 0, most)) do
  local entry, id = redis.call('HGET', UNACKED, tag), redis.call('HGET', UNACKED_JOBS, tag)
  end_delivery(tag)
  local record = JOB_RECORD .. (id or '')
  local job = read(record, 'tag', 'token', 'settled', 'fingerprint', 'caller_left', 'canvas',
    'kept_steps')
  if entry and id and job.tag == tag and (not job.settled or job.caller_left) then
    reap(id, record, entry, job)
    table.insert(reaped, id)
  end
end
return reaped
