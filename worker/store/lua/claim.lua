-- A worker is about to start a job: shall it? Of one fingerprint one runs, whoever starts first.
-- ARGV[1] task id   ARGV[2] fence token   ARGV[3] fingerprint, made with this worker's model
-- ARGV[4] 1 if others wait for the job in a canvas   ARGV[5] lifetime of an answer, s
-- Returns {"lead"}: run it; {"joined"}: another runs, its answer will be this job's, custody is the
-- flight's; {"cached", entry}; {"handed", outcome}: of the flight that this canvas job had joined;
-- {"settled"}: it has its result; {"cancelled"}; {"lost"}: not held under this token (any more).
local id, token, fingerprint = ARGV[1], ARGV[2], ARGV[3]
local record, now = JOB_RECORD .. id, clock()
local seen = redis.call('HMGET', record, 'settled', 'token', 'tag', 'fingerprint', 'deadline_ms',
  'cancelled', 'canvas')
if seen[2] ~= token then
  if seen[1] then return {'settled'} end
  -- The call was repeated, as its reply was lost.
  if redis.call('HEXISTS', FOLLOWERS .. fingerprint, id) == 1 then return {'joined'} end
  return {'lost'}
end
if seen[6] then return {'cancelled'} end
local handed = redis.call('GET', HANDOFF .. id)
if handed then return {'handoff', handed} end
local cached = redis.call('GET', CACHE .. fingerprint)
if cached then return {'cached', cached} end
if seen[4] and seen[4] ~= fingerprint then detach(seen[4], id) end
redis.call('HSET', record, 'fingerprint', fingerprint)
if ARGV[4] == '1' then redis.call('HSET', record, 'canvas', '1') end
local kept_ms = tonumber(ARGV[5]) * 1000
add_waiter(fingerprint, id, seen[5], kept_ms, now)
local leader = leader_of(fingerprint)
if leader and leader ~= id then
  local entry = redis.call('HGET', UNACKED, seen[3])
  redis.call('HSET', FOLLOWERS .. fingerprint, id, entry)
  keep(FOLLOWERS .. fingerprint, tonumber(seen[5]) + kept_ms, now)
  keep(GROUP .. fingerprint, tonumber(seen[5]) + kept_ms, now)
  end_delivery(seen[3])
  redis.call('HDEL', record, 'token', 'tag', 'worker')
  redis.call('HSET', record, 'state', 'joined')
  return {'joined'}
end
redis.call('HSET', GROUP .. fingerprint, 'leader', id, 'token', token)
keep(GROUP .. fingerprint, tonumber(seen[5]) + kept_ms, now)
return {'lead'}
