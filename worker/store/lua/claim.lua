-- Decides whether a worker that holds a job shall run it: of one fingerprint one job runs, whoever
-- starts first.
-- ARGV[1] task id
-- ARGV[2] fencing token
-- ARGV[3] fingerprint, made with the revision of this worker's model
-- ARGV[4] 1 if others wait for the job in a canvas
-- ARGV[5] lifetime of a result, s
-- ARGV[6] 1 if its text is to be read while it is written
-- Returns {"lead", 1 if somebody wants to read its text meanwhile, else 0, tries of its group so
-- far}: run it;
-- {"joined"}: another job runs, this one is set aside as its follower;
-- {"cached", entry}: the answer is there; {"handoff", outcome}: that of the group for which this
-- job had waited, in a canvas or in an open fan-out; {"settled"}: it has its result; {"cancelled"};
-- {"lost"}: the worker does not hold it under this token.
-- uses: CACHE, FOLLOWERS, GROUP, HANDOFF, JOB_RECORD, TEXT_WANTED, UNACKED, add_waiter, clock
-- uses: detach, end_delivery, fan_out_of, handed_outcome, keep_until, leader_of, read
-- uses: read_fan_out, want_text
local id, token, fingerprint = ARGV[1], ARGV[2], ARGV[3]
local in_canvas, kept_ms, is_streamed = ARGV[4] == '1', ARGV[5] * 1000, ARGV[6] == '1'
local record, now = JOB_RECORD .. id, clock()

local job = read(record, 'settled', 'token', 'tag', 'fingerprint', 'deadline_ms', 'cancelled',
  'attempts')
if job.token ~= token then
  if job.settled then return {'settled'} end
  -- The same call again, as its reply was lost.
  if redis.call('HEXISTS', FOLLOWERS .. fingerprint, id) == 1 then return {'joined'} end
  return {'lost'}
end
if job.cancelled then return {'cancelled'} end
local outcome = redis.call('GET', HANDOFF .. id)
if outcome then return {'handoff', outcome} end
local answer = redis.call('GET', CACHE .. fingerprint)
if answer then return {'cached', answer} end

local open = job.fingerprint == fingerprint and fan_out_of(fingerprint, id)
local ending = open and read_fan_out(open)
if ending then return {'handoff', handed_outcome(ending)} end

if job.fingerprint and job.fingerprint ~= fingerprint then detach(job.fingerprint, id) end
redis.call('HSET', record, 'fingerprint', fingerprint)
if in_canvas then redis.call('HSET', record, 'canvas', '1') end
add_waiter(fingerprint, id, job.deadline_ms, kept_ms, now)
if is_streamed then want_text(fingerprint, job.deadline_ms + kept_ms, now) end

local group, group_until = GROUP .. fingerprint, job.deadline_ms + kept_ms
local leader = leader_of(fingerprint)
if leader and leader ~= id then
  local followers = FOLLOWERS .. fingerprint
  redis.call('HSET', followers, id, redis.call('HGET', UNACKED, job.tag))
  keep_until(followers, group_until, now)
  keep_until(group, group_until, now)
  end_delivery(job.tag)
  redis.call('HDEL', record, 'token', 'tag', 'worker')
  redis.call('HSET', record, 'state', 'joined')
  return {'joined'}
end
redis.call('HSET', group, 'leader', id, 'token', token)
keep_until(group, group_until, now)
return {'lead', redis.call('EXISTS', TEXT_WANTED .. fingerprint), tonumber(job.attempts or 0)}
